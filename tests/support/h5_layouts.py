"""HDF5 files of every layout that h5py writes, and what a Milvus 2.x server should hold once they were brought there.

    h5_layouts.py make DIR             writes DIR/CASE.json (files and settings), the files, and what is in them
    h5_layouts.py check DIR ADDRESS    reads every collection CASE back: JSON, what differs (nothing: {})
"""
import json, os, sys
from concurrent.futures import ThreadPoolExecutor
import h5py
import numpy as np

N = 300
LAYOUTS = [
    "", "chunks=(100, 12)", "chunks=(7, 12)", "chunks=(300, 12)", "chunks=(600, 12), maxshape=(None, 12)", "chunks=(64, 5)",
    "chunks=(300, 1)", "chunks=True, maxshape=(None, None)", "chunks=(100, 12), compression='gzip'",
    "chunks=(99, 5), compression='gzip', compression_opts=9, shuffle=True", "chunks=(99, 12), compression='lzf'",
    "chunks=(99, 12), compression='lzf', shuffle=True, fletcher32=True",
    "chunks=(99, 12), compression='gzip', shuffle=True, fletcher32=True, maxshape=(None, 12)",
    "chunks=(99, 7), fletcher32=True", "chunks=(99, 12), shuffle=True", "chunks=(99, 12), compression='szip'",
]
FORMATS = [{}, {"libver": ("v110", "v110")}, {"userblock_size": 1024}]
rng = np.random.default_rng(5)


def case(directory, name, files, wanted_ids, wanted_vectors, **settings):
    """What should arrive of the files: ids, and vectors as rows of bytes."""
    np.savez(f"{directory}/{name}.npz", ids=np.asarray(wanted_ids, "<i8"), vectors=wanted_vectors)
    with open(f"{directory}/{name}.json", "w") as out:
        json.dump({"paths": files, **settings}, out)


def single(directory, name, write, wanted_ids, x, **settings):
    path = f"{directory}/{name}.h5"
    with h5py.File(path, "w") as f:
        write(f)
    rows = np.ascontiguousarray(x).view("u1").reshape(len(wanted_ids), x.itemsize * x.shape[1])
    case(directory, name, [path], wanted_ids, rows, **settings)


def datasets(**all):
    return lambda f: [f.__setitem__(name, value) for name, value in all.items()]


def make(d):
    for dtype in ("<f4", ">f8"):
        files, ids, vectors = [], [], []
        for number, (format, layout) in enumerate((f, l) for f in FORMATS for l in LAYOUTS):
            path = f"{d}/layout{dtype[1:]}_{number}.h5"
            # Whole numbers, because one of the filters above keeps no others.
            x = rng.integers(0, 1 << 20, (N, 12)).astype(dtype)
            i = np.arange(N) + number * N - 4000
            with h5py.File(path, "w", **format) as f:
                eval(f"f.create_dataset('embeddings', data=x{', ' + layout if layout else ''})", {"f": f, "x": x})
                f["ids"] = i
            files.append(path)
            ids.append(i)
            vectors.append(x.astype("<f4").view("u1"))
        case(d, f"layouts_{dtype[1:]}", files, np.concatenate(ids), np.concatenate(vectors))
    ids = rng.permutation(N) * 977 - 5
    for name, dtype in (("f4", ">f4"), ("f8", "<f8"), ("f2", "<f2"), ("f2_big", ">f2")):
        x = rng.standard_normal((N, 6)).astype(dtype)
        x[4, 1] = -0.0
        single(d, name, datasets(embeddings=x, ids=ids), ids, x.astype("<f4"))
    for name, dtype in (("u1", "u1"), ("i1", "i1"), ("u2", "<u2"), ("i4", ">i4"), ("u8", ">u8"), ("s64", "S64"), ("v64", "V64")):
        width = 64 if name in ("s64", "v64") else 16
        x = rng.integers(0, 256, (N, width)).astype("u1")
        x[:9] = 0
        x[5, width - 4:] = 0
        stored = x.view(dtype).reshape(N) if width == 64 else x.view("i1") if name == "i1" else x.astype(dtype)
        single(d, name, datasets(embeddings=stored, ids=ids), ids, x, metric="HAMMING")
    x = rng.standard_normal((N, 12)).astype("<f4")
    for name, dtype in (("ids_i4", ">i4"), ("ids_u8", "<u8")):
        i = rng.permutation(N)
        single(d, name, datasets(embeddings=x, ids=i.astype(dtype)), i, x)
    single(d, "no_ids", datasets(train=x), np.arange(N), x, vectors="train")
    single(d, "named", datasets(**{"deep/er/x": x, "deep/i": ids}), ids, x, vectors="deep/er/x", ids="/deep/i")
    single(d, "soft", datasets(**{"a/x": x, "ids": ids, "embeddings": h5py.SoftLink("/a/x")}), ids, x)

    def gaps(f):
        part = f.create_dataset("embeddings", (N, 12), "<f4", chunks=(10, 12), compression="gzip", fillvalue=3)
        part[100:150] = x[:50]
        f["ids"] = ids
    filled = np.full((N, 12), 3, "<f4")
    filled[100:150] = x[:50]
    single(d, "gaps", gaps, ids, filled)

    def grown(f):
        part = f.create_dataset("embeddings", (0, 12), "<f4", maxshape=(None, 12), chunks=(30, 12))
        for at in range(0, N, 17):
            part.resize((min(N, at + 17), 12))
            part[at:at + 17] = x[at:at + 17]
            f.flush()
        f["ids"] = ids
    single(d, "grown", grown, ids, x)
    single(d, "one_row", datasets(embeddings=x[:1], ids=ids[:1]), ids[:1], x[:1])
    single(d, "no_rows", datasets(embeddings=x[:0], ids=ids[:0]), ids[:0], x[:0])
    thin = rng.standard_normal((N, 1)).astype("<f4")
    single(d, "one_dimension", datasets(embeddings=thin, ids=ids), ids, thin)
    wide = rng.standard_normal((30, 32768)).astype("<f4")
    single(d, "wide", datasets(embeddings=wide, ids=ids[:30]), ids[:30], wide)


def differs(directory, name):
    from pymilvus import Collection, DataType, utility

    wanted = np.load(f"{directory}/{name}.npz")
    if not utility.has_collection(name):
        return "no such collection"
    c = Collection(name)
    field = c.schema.fields[1]
    binary = field.dtype == DataType.BINARY_VECTOR
    index = ("BIN_FLAT", "HAMMING") if binary else ("FLAT", "L2")
    if not c.has_index():
        c.create_index(field.name, {"index_type": index[0], "metric_type": index[1], "params": {}})
    c.load()
    try:
        rows = c.query("", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]
        if rows != len(wanted["ids"]):
            return f"{rows} rows, {len(wanted['ids'])} wanted"
        expected = {int(i): v.tobytes() for i, v in zip(wanted["ids"], wanted["vectors"])}
        keys, step = list(expected), 10 if name == "wide" else 1000
        for at in range(0, len(keys), step):
            asked = keys[at:at + step]
            found = c.query(f"id in {asked}", output_fields=["id", field.name], consistency_level="Strong")
            if len(found) != len(asked):
                return f"{len(found)} rows of {len(asked)} from {at} on"
            for row in found:
                vector = row[field.name]
                if (vector[0] if binary else np.array(vector, "<f4").tobytes()) != expected[row["id"]]:
                    return f"the vector of id {row['id']}"
    finally:
        c.release()
    return None


what, directory, *address = sys.argv[1:]
if what == "make":
    make(directory)
else:
    from pymilvus import connections

    connections.connect(uri="http://" + address[0])
    names = sorted(n[:-5] for n in os.listdir(directory) if n.endswith(".json"))
    # Indexing and loading is mostly waiting.
    with ThreadPoolExecutor(8) as pool:
        found = zip(names, pool.map(lambda name: differs(directory, name), names))
    print(json.dumps({"checked": len(names), "differ": {name: why for name, why in found if why}}))
