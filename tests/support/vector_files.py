"""Vector files and numpy arrays of every kind, and what should come of each.

    vector_files.py DIR    writes the files, prints JSON: a list of {"name", "source", "code", "says", "digest"}

`digest` is the SHA-256 over each row's id as little-endian i64 and its vector's bytes, in order.
"""
import hashlib, io, json, os, struct, sys, zipfile
import numpy as np

d = sys.argv[1]
rng = np.random.default_rng(11)
cases = []


def path(name):
    return os.path.join(d, name)


def case(name, source, vectors=None, ids=None, says=(), code=None):
    """What should arrive, or (without vectors) what is said."""
    known = {"name": name, "source": source, "says": list(says), "code": (0 if vectors is not None else 3) if code is None else code}
    if vectors is not None:
        ids = np.arange(len(vectors)) if ids is None else ids
        total = hashlib.sha256()
        for key, row in zip(ids, vectors):
            total.update(struct.pack("<q", int(key)) + row.tobytes())
        known.update(digest=total.hexdigest(), rows=len(vectors), sorted=sorted_digest(ids, vectors))
    cases.append(known)


def sorted_digest(ids, vectors):
    total = hashlib.sha256()
    for key, row in sorted((int(k), v.tobytes()) for k, v in zip(ids, vectors)):
        total.update(struct.pack("<q", key) + row)
    return total.hexdigest()


def raw(name, *parts):
    with open(path(name), "wb") as out:
        for part in parts:
            out.write(part if isinstance(part, bytes) else part.tobytes())
    return path(name)


def counted(name, x):
    return raw(name, b"".join(struct.pack("<i", x.shape[1]) + row.tobytes() for row in x))


def headed(name, x, rows=None, columns=None):
    return raw(name, struct.pack("<II", len(x) if rows is None else rows, x.shape[1] if columns is None else columns), x)


def vecs():
    f4 = rng.standard_normal((700, 12)).astype("<f4")
    f4[3, 2], f4[4, 0], f4[5, 1] = -0.0, 1e-42, 3e38
    u1 = rng.integers(0, 256, (700, 16)).astype("u1")
    i1 = rng.integers(-128, 128, (700, 16)).astype("i1")
    i4 = rng.integers(-(1 << 24), 1 << 24, (700, 10)).astype("<i4")
    case("fvecs", {"vecs": {"paths": [counted("x.fvecs", f4)]}}, f4)
    case("fbin", {"vecs": {"path": headed("x.fbin", f4), "first_id": 5000}}, f4, np.arange(700) + 5000)
    case("fbin_read", {"vecs": {"path": path("x.fbin"), "access": "read"}}, f4)
    case("bvecs", {"vecs": {"paths": [counted("x.bvecs", u1)]}}, u1.astype("<f4"))
    case("u8bin", {"vecs": {"paths": headed("x.u8bin", u1)}}, u1.astype("<f4"))
    case("u8bin_bits", {"vecs": {"paths": path("x.u8bin"), "as": "binary"}}, u1)
    case("i8bin", {"vecs": {"paths": headed("x.i8bin", i1)}}, i1)
    case("i8bin_floats", {"vecs": {"paths": path("x.i8bin"), "as": "float32"}}, i1.astype("<f4"))
    case("ivecs", {"vecs": {"paths": counted("x.ivecs", i4)}}, i4.astype("<f4"), says=["neighbours"])
    case("named", {"vecs": {"paths": raw("base.u8bin.crop_nb_700", open(path("x.u8bin"), "rb").read()), "format": "u8bin"}}, u1.astype("<f4"))
    os.mkdir(path("shards"))
    for number, name in enumerate(["part10", "part2", "part1"]):
        headed(f"shards/{name}.fbin", f4[number * 100:][:100])
    order = np.concatenate([f4[200:300], f4[100:200], f4[:100]])
    case("dir", {"vecs": {"dir": path("shards")}}, order, says=["part1.fbin from 0", "part2.fbin from 100", "part10.fbin from 200"])
    case("glob", {"vecs": {"glob": path("sh*/part?.fbin")}}, order[:200])
    case("listed", {"vecs": {"paths": [path("shards/part10.fbin"), path("shards/part1.fbin")]}}, np.concatenate([f4[:100], f4[200:300]]))
    case("no_rows", {"vecs": {"path": headed("none.fbin", f4[:0])}}, f4[:0])
    # Broken ones.
    whole = open(path("x.fvecs"), "rb").read()
    case("odd_row", {"vecs": {"path": raw("odd_row.fvecs", whole[:52 * 300], struct.pack("<i", 13), whole[52 * 300 + 4:])}}, says=["odd_row.fvecs at byte 15600", "row 300", "13 components", "12"])
    case("odd_last", {"vecs": {"path": raw("odd_last.fvecs", whole[:-52], struct.pack("<i", -1), whole[-48:])}}, says=["the last row", "-1"])
    case("cut_fvecs", {"vecs": {"path": raw("cut.fvecs", whole[:-3])}}, says=["cut.fvecs", "49 bytes follow row 699"])
    case("empty_fvecs", {"vecs": {"path": raw("empty.fvecs")}}, says=["empty.fvecs", "is empty"])
    case("negative", {"vecs": {"path": raw("neg.bvecs", struct.pack("<i", -5), b"x" * 20)}}, says=["-5"])
    case("zero", {"vecs": {"path": raw("zero.ivecs", struct.pack("<i", 0) * 8)}}, says=["0"])
    case("cropped", {"vecs": {"path": headed("crop.fbin", f4[:300], rows=700)}}, says=["crop.fbin", "700 rows", "it has 300 rows"])
    case("longer", {"vecs": {"path": raw("longer.fbin", open(path("x.fbin"), "rb").read(), b"x")}}, says=["longer.fbin"])
    case("headless", {"vecs": {"path": raw("headless.fbin", f4)}}, says=["headless.fbin"])
    case("huge", {"vecs": {"path": raw("huge.fbin", struct.pack("<II", 0xffffffff, 0xffffffff), b"x" * 80)}}, says=["huge.fbin"])
    case("stub", {"vecs": {"path": raw("stub.fbin", b"abc")}}, says=["stub.fbin"])
    case("inexact", {"vecs": {"path": counted("inexact.ivecs", (i4 * 0 + (1 << 24) + 1))}}, says=["inexact.ivecs", "row 0", "16777217"])
    case("u8_as_int8", {"vecs": {"path": path("x.u8bin"), "as": "int8"}}, says=["x.u8bin", "row 0", "not a signed byte"])
    case("ending", {"vecs": {"path": raw("x.bin", b"\1\0\0\0" * 20)}}, code=2, says=["x.bin", "format:"])
    case("mixed", {"vecs": {"paths": [path("x.fbin"), path("x.u8bin")]}}, code=2, says=["uint8", "float32"])
    case("widths", {"vecs": {"paths": [path("x.fbin"), headed("other.fbin", f4[:, :5].copy())]}}, code=2, says=["float32 × 5"])
    case("twice", {"vecs": {"paths": [path("x.fbin"), path("x.fbin")]}}, code=2, says=["twice"])
    case("none", {"vecs": {"glob": path("nothing*.fbin")}}, code=2, says=["no file matches"])
    case("too_many", {"vecs": {"path": path("x.fbin"), "dir": d}}, code=2, says=["exactly one"])
    case("ids_full", {"vecs": {"path": path("x.fbin"), "first_id": (1 << 63) - 500}}, code=2, says=["first_id"])


def npy(name, array, **more):
    np.save(path(name), array, **more)
    return path(name)


def header(name, text, data, version=1):
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return raw(name, b"\x93NUMPY", bytes([version, 0]), length, text.encode(), data)


def numpy():
    x = rng.standard_normal((300, 24))
    f4 = x.astype("<f4")
    f4[7, 3] = -0.0
    case("npy", {"numpy": {"vectors": npy("f4.npy", f4)}}, f4)
    case("npy_big", {"numpy": {"vectors": npy("f4b.npy", f4.astype(">f4"))}}, f4)
    case("npy_doubles", {"numpy": {"vectors": npy("f8.npy", x)}}, x.astype("<f4"), says=["float64 is rounded"])
    case("npy_doubles_big", {"numpy": {"vectors": npy("f8b.npy", x.astype(">f8"))}}, x.astype("<f4"))
    case("npy_halves", {"numpy": {"vectors": npy("f2.npy", x.astype("<f2"))}}, x.astype("<f2").astype("<f4"))
    case("npy_halves_big", {"numpy": {"vectors": npy("f2b.npy", x.astype(">f2"))}}, x.astype("<f2").astype("<f4"))
    for order, dtype in (("fortran", "<f4"), ("fortran_big", ">f8"), ("fortran_half", "<f2")):
        a = x.astype(dtype)
        case(order, {"numpy": {"vectors": npy(order + ".npy", np.asfortranarray(a)), "first_id": 9}}, a.astype("<f4"), np.arange(300) + 9)
    i1 = rng.integers(-128, 128, (300, 24)).astype("i1")
    u1 = i1.view("u1")
    case("npy_int8", {"numpy": {"vectors": npy("i1.npy", i1)}}, i1)
    case("npy_int8_bits", {"numpy": {"vectors": path("i1.npy"), "as": "binary"}}, u1)
    case("npy_bytes", {"numpy": {"vectors": npy("u1.npy", u1)}}, u1, says=["packed bits", "as: float32"])
    case("npy_bytes_as_numbers", {"numpy": {"vectors": path("u1.npy"), "as": "float32"}}, u1.astype("<f4"))
    case("fortran_bytes", {"numpy": {"vectors": npy("fu1.npy", np.asfortranarray(u1))}}, u1)
    bits = rng.integers(0, 2, (300, 32)).astype(bool)
    case("npy_bools", {"numpy": {"vectors": npy("b1.npy", bits)}}, np.packbits(bits, axis=1))
    case("npy_bools_fortran", {"numpy": {"vectors": npy("b1f.npy", np.asfortranarray(bits))}}, np.packbits(bits, axis=1))
    case("npy_bools_as_numbers", {"numpy": {"vectors": path("b1.npy"), "as": "float32"}}, bits.astype("<f4"))
    for dtype in ("<u2", ">i2", "<i4", ">u4", "<i8", ">u8"):
        a = rng.integers(0, 30000, (40, 3)).astype(dtype)
        case("npy_" + dtype[1:] + dtype[0].replace("<", "l").replace(">", "b"), {"numpy": {"vectors": npy(f"w{dtype[1:]}.npy", a)}}, a.astype("<f4"))
    for dtype in ("<i8", ">i8", "<i4", "<u4", "<u8", "i1"):
        ids = (rng.permutation(300) - (0 if "u" in dtype or dtype == "i1" else 150)) % (120 if dtype == "i1" else 1 << 40)
        ids = ids.astype(dtype)
        name = "ids" + dtype.replace("<", "l").replace(">", "b")
        case("npy_" + name, {"numpy": {"vectors": path("f4.npy"), "ids": npy(name + ".npy", ids)}}, f4, ids)
    case("npy_ids_column", {"numpy": {"vectors": path("f4.npy"), "ids": npy("idc.npy", np.arange(300).reshape(300, 1) * 3)}}, f4, np.arange(300) * 3)
    case("npy_list", {"numpy": {"vectors": [path("f4.npy"), path("fortran.npy")], "ids": [path("idc.npy"), npy("idn.npy", np.arange(300) - 1000)]}},
         np.concatenate([f4, x.astype("<f4")]), np.concatenate([np.arange(300) * 3, np.arange(300) - 1000]))
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (300, 24), }"
    case("version2", {"numpy": {"vectors": header("v2.npy", text, f4, 2)}}, f4)
    case("version3", {"numpy": {"vectors": header("v3.npy", text, f4, 3)}}, f4)
    case("python2", {"numpy": {"vectors": header("p2.npy", '{"shape": (300L, 24L), "descr": "<f4", "fortran_order": False}', f4)}}, f4)
    case("npy_empty", {"numpy": {"vectors": npy("e.npy", f4[:0])}}, f4[:0])
    for name, save in (("stored", np.savez), ("packed", np.savez_compressed)):
        save(path(name + ".npz"), x=x, y=f4, ids=np.arange(300) * 7)
        where = path(name + ".npz")
        case("npz_" + name, {"numpy": {"vectors": where + ":y", "ids": where + ":ids"}}, f4, np.arange(300) * 7)
        case("npz_doubles_" + name, {"numpy": {"vectors": where + ":x.npy"}}, x.astype("<f4"))
        save(path(name + "1.npz"), f4)
        case("npz_one_" + name, {"numpy": {"vectors": path(name + "1.npz")}}, f4)
    with zipfile.ZipFile(path("odd.npz"), "w", zipfile.ZIP_STORED) as z:
        z.comment = b"PK\x05\x06" + b"a comment with a signature in it" * 3
        out = io.BytesIO()
        np.save(out, f4)
        with z.open("deep/er.npy", "w", force_zip64=True) as member:
            member.write(out.getvalue())
        z.writestr("notes.txt", "not an array")
        z.writestr(zipfile.ZipInfo("bz.npy"), out.getvalue(), zipfile.ZIP_BZIP2)
    case("npz_wide", {"numpy": {"vectors": path("odd.npz") + ":deep/er"}}, f4)
    case("npz_bz2", {"numpy": {"vectors": path("odd.npz") + ":bz"}}, says=["odd.npz", "method 12"])
    case("npz_which", {"numpy": {"vectors": path("stored.npz")}}, code=2, says=["archive of 3 arrays", "x, y, ids", "stored.npz:x"])
    case("npz_no_such", {"numpy": {"vectors": path("stored.npz") + ":z"}}, code=2, says=["no array `z`", "x, y, ids"])
    np.savez_compressed(path("pf.npz"), x=np.asfortranarray(f4))
    case("npz_fortran_packed", {"numpy": {"vectors": path("pf.npz")}}, says=["pf.npz", "column by column", "savez"])
    # What is no table of numbers.
    case("objects", {"numpy": {"vectors": npy("o.npy", np.array([1, "x", None], object), allow_pickle=True)}}, says=["o.npy", "pickled"])
    case("records", {"numpy": {"vectors": npy("r.npy", np.zeros(3, [("a", "f4"), ("b", "i8")]))}}, says=["r.npy", "records"])
    case("texts", {"numpy": {"vectors": npy("t.npy", np.array(["a", "bc"]))}}, says=["t.npy", "U2"])
    case("complex", {"numpy": {"vectors": npy("c.npy", np.zeros((3, 4), "c8"))}}, says=["c.npy", "c8"])
    case("one_dimension", {"numpy": {"vectors": npy("1d.npy", f4[0])}}, says=["1d.npy", "[24]"])
    case("three", {"numpy": {"vectors": npy("3d.npy", f4.reshape(300, 4, 6))}}, says=["3d.npy", "reshape"])
    case("scalar", {"numpy": {"vectors": npy("0d.npy", np.float32(1))}}, says=["0d.npy"])
    case("no_columns", {"numpy": {"vectors": npy("nc.npy", f4[:, :0])}}, says=["nc.npy"])
    case("odd_bools", {"numpy": {"vectors": npy("b7.npy", bits[:, :7])}}, says=["b7.npy", "7 booleans"])
    case("too_large", {"numpy": {"vectors": npy("tl.npy", np.full((3, 2), 1e300))}}, says=["tl.npy", "row 0", "1e300"])
    case("ids_floats", {"numpy": {"vectors": path("f4.npy"), "ids": npy("idf.npy", np.arange(300.0))}}, says=["idf.npy", "float64"])
    case("ids_few", {"numpy": {"vectors": path("f4.npy"), "ids": npy("id9.npy", np.arange(299))}}, says=["id9.npy", "299", "300"])
    case("ids_wide", {"numpy": {"vectors": path("f4.npy"), "ids": npy("idw.npy", np.full(300, (1 << 64) - 1, "u8"))}}, says=["idw.npy", "row 0"])
    case("npy_longer", {"numpy": {"vectors": raw("l.npy", open(path("f4.npy"), "rb").read(), b"x")}}, says=["l.npy", "28801"])
    case("npy_lies", {"numpy": {"vectors": header("lie.npy", text.replace("300", "9" * 18), f4)}}, says=["lie.npy"])
    np.memmap(path("mm.npy"), "<f4", "w+", shape=(300, 24))[:] = f4
    case("memmap", {"numpy": {"vectors": path("mm.npy")}}, says=["mm.npy", "numpy"])
    case("float_as_int8", {"numpy": {"vectors": path("f4.npy"), "as": "int8"}}, code=2, says=["f4.npy", "int8"])
    case("ids_and_first", {"numpy": {"vectors": path("f4.npy"), "ids": path("idc.npy"), "first_id": 7}}, code=2, says=["first_id"])


vecs()
numpy()
print(json.dumps(cases))
