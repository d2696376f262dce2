"""Runs ours and others by turns; see benches/side_by_side.

    side_by_side.py WORK PORT MILVUSDM PEER ROUNDS PEER_ROUNDS [JOB...]
"""
import json, os, shutil, statistics, subprocess, sys, time
import faiss, h5py, numpy as np, pyarrow as pa, pyarrow.parquet as pq
from pymilvus import Collection, connections, utility

import scalars

work, port, milvusdm, peer = sys.argv[1:5]
rounds, peer_rounds = map(int, sys.argv[5:7])
sizes = ["200000x128", "50000x768"]
jobs = sys.argv[7:] or [f"{kind}-{size}" for size in sizes for kind in ("F2M", "H2M", "M2M", "P2M")] + ["M2H", "gzip"]
here = os.path.dirname(os.path.abspath(__file__))
os.chdir(work)
connections.connect(uri=f"http://127.0.0.1:{port}")


def clear(*paths):
    for path in paths + tuple(name for name in os.listdir(".") if name.endswith(".ckpt")):
        shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.path.exists(path) and os.remove(path)


def program(*command):
    """A whole run: wall, CPU, peak memory in MiB, and what it said."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=open("said", "wb"), stderr=subprocess.STDOUT)
    # The peak of the process's own memory: getrusage would count ours before the exec, too.
    peak_kb = 0
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        for line in open(f"/proc/{process.pid}/status"):
            if line.startswith("VmHWM:"):
                peak_kb = max(peak_kb, int(line.split()[1]))
        time.sleep(0.02)
    _, status, usage = os.wait4(process.pid, 0)
    wall, said = time.monotonic() - start, open("said").read()
    assert status == 0, f"{command} ended with {status}: {said[-2000:]}"
    return dict(wall=wall, cpu=usage.ru_utime + usage.ru_stime, mib=peak_kb / 1024, said=said)


def drop():
    for name in utility.list_collections():
        utility.drop_collection(name)
    time.sleep(1)


def prepare(size):
    """The same number of rows of the same width as npy, Faiss, HDF5 and a directory of Milvus 1.x, of two partitions
    there: the Python tool breaks off at one without rows."""
    rows, dim = map(int, size.split("x"))
    if os.path.exists(f"{size}.npy"):
        return rows, dim
    vectors = np.random.default_rng(7).standard_normal((rows, dim), dtype=np.float32)
    np.save(f"{size}.npy", vectors)
    index = faiss.IndexFlatL2(dim)
    index.add(vectors)
    faiss.write_index(index, f"{size}.index")
    with h5py.File(f"{size}.h5", "w") as file:
        file["embeddings"], file["ids"] = vectors, np.arange(rows)
    subprocess.run([sys.executable, f"{here}/../make_milvus1x.py", f"{size}.v1", "--rows", str(rows), "--dim", str(dim),
                    "--segments", "2", "--deleted", "0"], check=True, stdout=subprocess.DEVNULL)
    return rows, dim


def with_scalars(size, rows):
    """The rows as Parquet, with four scalar columns."""
    path = f"{size}.parquet"
    if not os.path.exists(path):
        number, price, title, doc = scalars.of(range(rows))
        vectors = np.load(f"{size}.npy")
        offsets = np.arange(rows + 1, dtype=np.int32) * vectors.shape[1]
        vectors = pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.reshape(-1)))
        table = pa.table({"id": np.arange(rows), "number": number, "price": price, "title": title, "doc": doc, "embedding": vectors})
        pq.write_table(table, path, use_dictionary=False, compression="none", row_group_size=50_000)
    return path


def job(kind, size, dim):
    """A job of the Python tool, which both take unchanged; of Parquet, which it does not know, one of ours."""
    path = os.path.join(work, size)
    if kind == "P2M":
        open("job.yaml", "w").write(f"""source: {{parquet: {{path: {path}.parquet, types: {{doc: json}}}}}}
sink: {{milvus: {{address: "127.0.0.1:{port}", collection: bench}}}}
fields: {{columns: {{title: {{type: varchar, max_length: 64}}}}}}
""")
        return
    source = {"F2M": f"data_path: {path}.index", "H2M": f"data_path: [{path}.h5]\n  data_dir:",
              "M2M": f"source_milvus_path: {path}.v1\n  mysql_parameter:\n  source_collection: {{bench: }}"}[kind]
    name = "" if kind == "M2M" else f"""
  dest_collection_name: bench
  dest_partition_name:
  collection_parameter: {{dimension: {dim}, index_file_size: 1024, metric_type: L2}}"""
    open("job.yaml", "w").write(f"""{kind}:
  milvus_version: 2.x
  {source}
  mode: append
  dest_host: 127.0.0.1
  dest_port: {port}{name}
""")


def into_milvus(kind, size):
    rows, dim = prepare(size)
    if kind == "P2M":
        with_scalars(size, rows)
    job(kind, size, dim)
    gb = rows * (4 * dim + 8) / 1e9

    def loaded(*command):
        drop(), clear()
        return program(*command)

    def ours():
        command = ["run", "job.yaml"] if kind == "P2M" else ["--yaml", "job.yaml"]
        cost = loaded(milvusdm, *command, "--progress", "none", "--report", "report.json")
        assert f"done: {rows} rows" in cost["said"], cost["said"]
        with open("report.json") as report:
            progress = json.load(report)["progress"]
        # Without the flush, which comes after the last acknowledgement.
        return dict(cost, taken=cost["wall"] - progress["seconds"] + progress["last_receipt_seconds"])

    def perfect():
        more = ["--scalars"] if kind == "P2M" else []
        out = loaded(sys.executable, f"{here}/perfect_client.py", f"127.0.0.1:{port}", f"{size}.npy", "--flush", *more)
        # Below a warning of gRPC's, at times.
        result = json.loads(out["said"].splitlines()[-1])
        # What it does before its clock starts does not count: Python, encoding.
        return dict(out, wall=result["wall_s"], cpu=result["client_cpu_s"])

    def columns():
        return loaded(sys.executable, f"{here}/column_insert.py", port, f"{size}.npy", "bench")

    def python_tool():
        cost = loaded(peer, "--yaml", "job.yaml")
        # It says nothing of failures in its exit code.
        assert utility.has_collection("bench"), cost["said"]
        collection = Collection("bench")
        # It ends with the last acknowledgement: it neither flushes nor counts.
        start = time.monotonic()
        collection.flush()
        assert collection.num_entities == rows, f"{collection.num_entities} rows: {cost['said']}"
        return dict(cost, taken=cost["wall"], wall=cost["wall"] + time.monotonic() - start)

    others = {} if kind == "P2M" else {"pymilvus columns": columns, "Python MilvusDM": python_tool}
    table = compare(f"{kind} {size}", {"milvusdm": ours, "pre-encoded client": perfect, **others}, often=2)
    cpu = statistics.median(cost["cpu"] for cost in table["milvusdm"]) / gb / 10
    print(f"    milvusdm: {cpu:.3f} CPU-s per 100 MB (wanted 0.25 at most)", flush=True)
    if table.get("Python MilvusDM"):
        both = list(zip(table["milvusdm"], table["Python MilvusDM"]))
        times = lambda ours, its: statistics.median(b[its] / a[ours] for a, b in both)
        a, b = (statistics.median(cost["taken"] for cost in column) for column in zip(*both))
        print(f"    to the last acknowledgement, where the Python MilvusDM ends: milvusdm {a:.2f} s, it {b:.2f} s:"
              f" {times('taken', 'taken'):.1f} times as fast\n"
              f"    until flushed and counted: {times('wall', 'wall'):.1f} times;"
              f" its run, which does neither, beside all of ours: {times('wall', 'taken'):.1f} times", flush=True)


def compare(what, deeds, often):
    """All by turns; the first `often` of them every time, others in the first rounds only, and only while they can."""
    names = list(deeds)
    table, failed = {name: [] for name in names}, {}
    for name in names[:often]:
        deeds[name]()  # Warm: the server, the page cache.
    for n in range(rounds):
        turn = names[:often] if n >= peer_rounds else names
        for name in turn if n % 2 == 0 else reversed(turn):
            try:
                table[name].append(deeds[name]())
            except AssertionError as error:
                if name in names[:often]:
                    raise
                failed[name] = error
    print(f"{what}:", flush=True)
    first = table[names[0]]
    for name, costs in table.items():
        if name in failed:
            print(f"    {name:<20} cannot do it: {' '.join(str(failed[name]).split())[:600]}", flush=True)
        if not costs:
            continue
        ratios = sorted(a["wall"] / b["wall"] for a, b in zip(first, costs))
        middle = lambda key: statistics.median(cost[key] for cost in costs)
        print(f"    {name:<20} wall {middle('wall'):7.2f} s  CPU {middle('cpu'):6.2f} s  peak {middle('mib'):5.0f} MiB"
              f"  of {len(costs)} runs; milvusdm's wall / its: {statistics.median(ratios):.3f}"
              f" ({ratios[0]:.3f} to {ratios[-1]:.3f})", flush=True)
    return table


def out_of_milvus():
    subprocess.run([sys.executable, f"{here}/../make_milvus1x.py", "v1", "--rows", "1000000"], check=True,
                   stdout=subprocess.DEVNULL)
    open("m2h.yaml", "w").write("M2H: {source_milvus_path: v1, source_collection: {bench: }, data_dir: out}\n")
    copy = "cp -r v1 copy && find copy -type f -exec sync {} +"
    compare("M2H, 1,000,000 x 128 with 1 % deleted", {
        "milvusdm": lambda: (clear("out"), program(milvusdm, "run", "m2h.yaml", "--progress", "none"))[1],
        "cp -r and fsync": lambda: (clear("copy"), program("sh", "-c", copy))[1]}, often=2)


def packed():
    prepare(sizes[0])
    open("gzip.yaml", "w").write(f"""source: {{faiss: {{path: {sizes[0]}.index}}}}
sink: {{hdf5: {{path: gzip.h5, mode: overwrite, compression: gzip1, shuffle: true}}}}
run: {{threads: 2}}
""")
    by_h5py = f"""
import h5py, numpy as np
rows = np.load("{sizes[0]}.npy")
filters = dict(compression="gzip", compression_opts=1, shuffle=True)
with h5py.File("gzip.h5") as ours, h5py.File("h5py.h5", "w") as file:
    file.create_dataset("embeddings", data=rows, chunks=ours["embeddings"].chunks, **filters)
    file.create_dataset("ids", data=np.arange(len(rows)), chunks=ours["ids"].chunks, **filters)
"""
    compare("HDF5 with gzip 1 and shuffle, 200,000 x 128, two threads", {
        "milvusdm": lambda: (clear(), program(milvusdm, "run", "gzip.yaml", "--progress", "none"))[1],
        "h5py": lambda: (clear("h5py.h5"), program(sys.executable, "-c", by_h5py))[1]}, often=2)


for name in jobs:
    if name == "M2H":
        out_of_milvus()
    elif name == "gzip":
        packed()
    else:
        into_milvus(*name.split("-"))
