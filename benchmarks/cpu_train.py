"""A training step of SimpleConvNet and DeepConvNet with Adam, in every library that is installed.

python benchmarks/cpu_train.py                       # all, batch 100
python benchmarks/cpu_train.py --models simple --libraries ours,torch --seconds 1 --json train.json
"""

from __future__ import annotations

from harness import common_arguments
from report import measure_and_print
from workloads import NETS, Workload


def main() -> None:
    parser = common_arguments(__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=("simple", "deep"), default=["simple", "deep"])
    parser.add_argument("--batch", type=int, default=100, help="samples a step (%(default)s)")
    arguments = parser.parse_args()
    measure_and_print([Workload("train", NETS[name], arguments.batch) for name in arguments.models], arguments)


if __name__ == "__main__":
    main()
