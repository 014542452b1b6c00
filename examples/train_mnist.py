"""The whole story: MNIST in, a trained SimpleConvNet, its parameters and its curves out, in the current folder."""

import argparse

import xpcnn
from xpcnn.datasets import load_mnist
from xpcnn.models import SimpleConvNet
from xpcnn.plots import plot_curves, save_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help='"cpu", "cuda", "cuda:1" or "auto" (the default)')
    parser.add_argument("--epochs", type=int, default=20, help="passes over the training digits (default: 20)")
    args = parser.parse_args()

    device = xpcnn.get_device(args.device)
    (x_train, t_train), (x_test, t_test) = load_mnist(flatten=False)
    network = SimpleConvNet(seed=0)
    print(f"{len(x_train):,} digits to train on, {len(x_test):,} to test on, {device.name} ({device.why})", flush=True)

    trainer = xpcnn.Trainer(
        network, x_train, t_train, x_test, t_test, epochs=args.epochs, mini_batch_size=100,
        optimizer="Adam", optimizer_param={"lr": 0.001}, evaluate_sample_num_per_epoch=1000, device=device,
    )  # fmt: skip
    trainer.train()

    network.save_params("simple_convnet.safetensors")
    save_figure(plot_curves(trainer.history.rows, trainer.train_loss_list), "curves.png")
    print(f"test accuracy {network.accuracy(x_test, t_test):.2%}; wrote simple_convnet.safetensors and curves.png")


if __name__ == "__main__":
    try:
        main()
    except xpcnn.XpcnnError as error:
        raise SystemExit(f"error: {error}") from error
