"""Run by benches/parquet: WORK MILVUSDM BENCH ROUNDS ROWS DIM."""
import json, os, statistics, subprocess, sys, time
import numpy as np, pyarrow as pa, pyarrow.parquet as pq

work, milvusdm, bench, *numbers = sys.argv[1:]
rounds, rows, dim = map(int, numbers)
os.chdir(work)
os.environ["XDG_STATE_HOME"] = f"{work}/state"
gb = rows * dim * 4 / 1e9
missed = []


def vectors():
    rng = np.random.default_rng(7)
    out = np.lib.format.open_memmap("vectors.npy", "w+", "<f4", (rows, dim))
    for first in range(0, rows, 100_000):
        some = rng.standard_normal((min(100_000, rows - first), dim), dtype=np.float32)
        # Of length 1, as embeddings are.
        out[first:first + len(some)] = some / np.linalg.norm(some, axis=1, keepdims=True)
    np.save("ids.npy", np.arange(rows))
    return np.load("vectors.npy", mmap_mode="r")


def table(array):
    flat = pa.array(array.reshape(-1))
    offsets = pa.array(np.arange(rows + 1, dtype="<i4") * dim)
    lists = pa.ListArray.from_arrays(offsets, flat)
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False),
                        pa.field("embedding", pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False)])
    return pa.table([pa.array(np.arange(rows)), lists], schema=schema)


def sync(path):
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


def timed(deed):
    start = time.perf_counter()
    deed()
    return time.perf_counter() - start


def told(what, ours, theirs, of, least=None, most=None):
    """Ratios of their time to ours, or of ours to theirs, whichever is wanted."""
    ratios = sorted(b / a if least else a / b for a, b in zip(ours, theirs))
    middle = statistics.median(ratios)
    quarter = len(ratios) // 4
    wanted = f"wanted {least} at least" if least else f"wanted {most} at most"
    is_met = middle >= least if least else middle <= most
    print(f"{what}: milvusdm {gb / statistics.median(ours):.2f} GB/s, {of} {gb / statistics.median(theirs):.2f}; ratio {middle:.2f}"
          f" ({ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f}), {wanted}{'' if is_met else ': MISSED'}", flush=True)
    if not is_met:
        missed.append(what)


def reading(array):
    made = table(array)
    settings = dict(use_dictionary=False, row_group_size=max(1, (64 << 20) // (4 * dim)), store_schema=False)
    pq.write_table(made, "plain.parquet", compression="none", **settings)
    pq.write_table(made, "zstd.parquet", compression="zstd", **settings)
    del made
    answer = json.loads(subprocess.run([bench, "plain.parquet", str(rounds)], stdout=subprocess.PIPE, check=True).stdout)
    told("read, uncompressed", answer["read"], answer["sum"], "plain sum", least=0.70)
    ours, theirs = [], []
    for _ in range(rounds):
        answer = json.loads(subprocess.run([bench, "zstd.parquet", "1"], stdout=subprocess.PIPE, check=True).stdout)
        ours += answer["read"]
        theirs.append(timed(lambda: pq.read_table("zstd.parquet", use_threads=False, pre_buffer=False)))
    told("read, zstd, one core", ours, theirs, "pyarrow", least=1.00)


def writing(array):
    job = "source: {numpy: {vectors: vectors.npy, ids: ids.npy}}\nsink: {parquet: {dir: out, mode: overwrite%s}}\n"
    made = table(array)

    def ours():
        subprocess.run([milvusdm, "run", "job.yaml", "--again", "--progress", "none"], stdout=subprocess.DEVNULL, check=True)

    def pyarrow():
        pq.write_table(made, "pyarrow.parquet", compression="none", use_dictionary=False, store_schema=False)
        sync("pyarrow.parquet")

    def cp():
        for name in sorted(os.listdir("out")):
            subprocess.run(["cp", f"out/{name}", f"copy-{name}"], check=True)
            sync(f"copy-{name}")

    def gone(*paths):
        for path in paths:
            subprocess.run(["rm", "-rf", path], check=True)
        subprocess.run(["sync"], check=True)

    for name, setting in [("compression left out", ""), ("compression: none", ", compression: none")]:
        open("job.yaml", "w").write(job % setting)
        ours()
        times = {"ours": [], "pyarrow": [], "cp": []}
        copies = [f"copy-{name}" for name in os.listdir("out")]
        for number in range(rounds):
            gone("pyarrow.parquet", *copies)
            turn = [("pyarrow", pyarrow), ("cp", cp)]
            for who, deed in turn if number % 2 else reversed(turn):
                times[who].append(timed(deed))
            gone("out", "pyarrow.parquet", *copies)
            times["ours"].append(timed(ours))
        told(f"written, {name}, beside pyarrow", times["ours"], times["pyarrow"], "pyarrow", least=3.0)
        told(f"written, {name}, beside cp and fsync", times["ours"], times["cp"], "cp", most=1.5)
        # Another reader finds the rows that were written.
        files = sorted(f"out/{name}" for name in os.listdir("out") if name.endswith(".parquet"))
        first = 0
        for file in files:
            found = pq.read_table(file).column("embedding").combine_chunks().flatten().to_numpy()
            assert (found.reshape(-1, dim) == array[first:first + len(found) // dim]).all(), file
            first += len(found) // dim
        assert first == rows, first


array = vectors()
reading(array)
writing(array)
sys.exit(f"missed: {', '.join(missed)}" if missed else 0)
