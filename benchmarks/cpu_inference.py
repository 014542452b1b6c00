"""Scores of SimpleConvNet and DeepConvNet for a batch and for one picture, in every library that is installed.

python benchmarks/cpu_inference.py                   # batches of 100 and 1
python benchmarks/cpu_inference.py --models deep --batch 1 --libraries ours,onnxruntime
"""

from __future__ import annotations

from harness import common_arguments
from report import measure_and_print
from workloads import NETS, Workload


def main() -> None:
    parser = common_arguments(__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=("simple", "deep"), default=["simple", "deep"])
    parser.add_argument("--batch", type=int, nargs="+", default=[100, 1], help="pictures at a time (100 1)")
    arguments = parser.parse_args()
    chosen = [Workload("inference", NETS[name], batch) for name in arguments.models for batch in arguments.batch]
    measure_and_print(chosen, arguments)


if __name__ == "__main__":
    main()
