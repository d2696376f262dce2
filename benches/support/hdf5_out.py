"""Pairs of milvusdm and cp, and of milvusdm and h5py; see benches/hdf5_out.

    hdf5_out.py WORK MILVUSDM ROUNDS
"""
import os, shutil, statistics, subprocess, sys, time
import faiss, h5py, numpy as np

work, milvusdm, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.chdir(work)
rows = np.random.default_rng(7).standard_normal((200_000, 128), dtype=np.float32)
index = faiss.IndexFlatL2(128)
index.add(rows)
faiss.write_index(index, "rows.index")
open("m2h.yaml", "w").write("M2H: {source_milvus_path: milvus, source_collection: {bench: }, data_dir: out}\n")
open("gzip.yaml", "w").write("""source: {faiss: {path: rows.index}}
sink: {hdf5: {path: gzip.h5, mode: overwrite, compression: gzip1, shuffle: true}}
run: {threads: 2}
""")


def timed(deed, before):
    for path in before:
        shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.path.exists(path) and os.remove(path)
    start = time.monotonic()
    deed()
    return time.monotonic() - start


def run(job):
    subprocess.run([milvusdm, "run", job, "--progress", "none"], stdout=subprocess.PIPE, check=True)


def copy():
    subprocess.run(["cp", "-r", "milvus", "copy"], check=True)
    for directory, _, files in os.walk("copy"):
        for name in files:
            file = os.open(os.path.join(directory, name), os.O_RDONLY)
            os.fsync(file)
            os.close(file)


def by_h5py():
    filters = dict(compression="gzip", compression_opts=1, shuffle=True)
    with h5py.File("gzip.h5") as ours, h5py.File("h5py.h5", "w") as file:
        file.create_dataset("embeddings", data=rows, chunks=ours["embeddings"].chunks, **filters)
        file.create_dataset("ids", data=np.arange(len(rows)), chunks=ours["ids"].chunks, **filters)


def pairs(name, ours, theirs):
    ours(), theirs()  # warm
    table = [(ours(), theirs()) for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in table)
    print(f"{name}: median ratio {ratio:.2f}; ours {[round(a, 2) for a, _ in table]} s, "
          f"beside it {[round(b, 2) for _, b in table]} s", flush=True)


pairs("M2H / cp -r and fsync", lambda: timed(lambda: run("m2h.yaml"), ["out", "milvusdm-m2h.ckpt"]),
      lambda: timed(copy, ["copy"]))
pairs("gzip1 + shuffle, two threads / h5py", lambda: timed(lambda: run("gzip.yaml"), ["milvusdm-gzip.ckpt"]),
      lambda: timed(by_h5py, ["h5py.h5"]))
