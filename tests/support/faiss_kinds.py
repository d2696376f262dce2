"""Writes an index file of every kind that Faiss makes, and what milvusdm must make of it.

    faiss_kinds.py OUT_DIR [--seed N] [--only PREFIX ...] [--check] [--random N]

`--check` also reads each file back with Faiss. `--random N` writes N cases of random shape instead of the fixed ones.
"""

import argparse
import faulthandler
import sys

import faiss

import faiss_random
from faiss_binary import binary
from faiss_bytes import old_layouts
from faiss_exact import flat, id_maps, ivf, on_disk, panorama, quantizers
from faiss_kit import Kit
from faiss_lossy import product, scalar
from faiss_nested import graphs, refine, transforms
from faiss_refused import damaged, refused

GROUPS = [flat, id_maps, ivf, quantizers, on_disk, panorama, transforms, graphs, refine, scalar, product, binary,
          old_layouts, refused, damaged]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--random", type=int, default=0)
    args = parser.parse_args()
    faulthandler.enable()
    faiss.omp_set_num_threads(1)
    kit = Kit(args.out, args.seed, args.only, args.check)
    if args.random:
        faiss_random.cases(kit, args.random)
    else:
        for group in GROUPS:
            kit.group(group)
    sys.exit(0 if kit.finish() else 1)


if __name__ == "__main__":
    main()
