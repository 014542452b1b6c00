"""Single convolutions of larger networks, forward, and forward and backward, in every library that is installed.

python benchmarks/conv_layers.py
python benchmarks/conv_layers.py --layers conv64 --libraries ours,torch-cl
"""

from __future__ import annotations

from harness import common_arguments
from report import measure_and_print
from workloads import NETS, Workload

LAYERS = {"conv64": (32, ("inference", "both")), "conv128": (32, ("inference", "both")), "conv7x7": (8, ("inference",))}


def main() -> None:
    parser = common_arguments(__doc__.partition("\n")[0])
    parser.add_argument("--layers", nargs="+", choices=tuple(LAYERS), default=list(LAYERS))
    arguments = parser.parse_args()
    chosen = [Workload(task, NETS[name], LAYERS[name][0]) for name in arguments.layers for task in LAYERS[name][1]]
    measure_and_print(chosen, arguments)


if __name__ == "__main__":
    main()
