"""HDF5 files of growing size into HDF5, with the peak memory of each run; see benches/hdf5_memory.

    hdf5_memory.py WORK MILVUSDM GB…
"""
import os, subprocess, sys, time
import h5py, numpy as np

work, milvusdm, sizes = sys.argv[1], sys.argv[2], [float(gb) for gb in sys.argv[3:]]
os.chdir(work)
ROWS = 100_000  # written at once
LIMIT = 200 * 10**6
# A few bits of noise a component, so that compressing does not take all night.
some = np.random.default_rng(7).integers(0, 256, (ROWS, 128)).astype("<f4")
# A process counts the memory of the one that started it, until it becomes its own program: so that one is small.
SMALL = """import os, sys
_, status, usage = os.wait4(os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:]), 0)
assert status == 0, f"milvusdm ended with {status}"
print(usage.ru_maxrss)"""


def make(gb, **layout):
    blocks = max(1, round(gb * 1e9 / some.nbytes))
    with h5py.File("in.h5", "w") as file:
        vectors = file.create_dataset("embeddings", (blocks * ROWS, 128), "<f4", **layout)
        file.create_dataset("ids", (blocks * ROWS,), "<i8")
        for block in range(blocks):
            at = slice(block * ROWS, (block + 1) * ROWS)
            vectors[at] = some
            file["ids"][at] = np.arange(at.start, at.stop)
    return blocks * ROWS


def run(compression):
    with open("job.yaml", "w") as job:
        job.write("source: {hdf5: {paths: in.h5}}\n"
                  f"sink: {{hdf5: {{path: out.h5, mode: overwrite, compression: {compression}}}}}\n")
    start = time.monotonic()
    command = [sys.executable, "-S", "-c", SMALL, milvusdm, "run", "job.yaml", "--progress", "none"]
    peak = int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()[-1]) * 1024
    os.remove("job.yaml.ckpt")
    return time.monotonic() - start, peak


def last_row_is_there(rows):
    with h5py.File("out.h5") as file:
        assert file["embeddings"].shape == (rows, 128) and (file["embeddings"][rows - 1] == some[-1]).all()
        assert file["ids"][rows - 1] == rows - 1


too_much = False
for layout, settings, compression, share in (
    ("contiguous", {}, "none", 1),
    ("chunked", {"chunks": (8192, 128)}, "none", 1),
    ("gzip1", {"chunks": (8192, 128), "compression": "gzip", "compression_opts": 1}, "gzip1", 1 / 8),
):
    for gb in sizes:
        rows = make(gb * share, **settings)
        wall, peak = run(compression)
        last_row_is_there(rows)
        too_much |= peak > LIMIT
        print(f"{layout:>10}, {rows * 520 / 1e9:.2f} GB in and out: {wall:.1f} s, {peak / 1e6:.0f} MB", flush=True)
        os.remove("out.h5")
sys.exit(f"a run took more than {LIMIT // 10**6} MB" if too_much else 0)
