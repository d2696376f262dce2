"""Kinds that hold no rows, or none that can be had, and files that are broken."""

import gzip
import pickle
import struct
import zlib

import faiss

from faiss_kit import L2, filled, ivf_flat


def refused(kit):
    d = 16
    x = kit.rows(400, d)
    for name, spec, says in (
        ("lsh", "LSH", "LSH"), ("lsh_rotated", "LSHr", "LSH"), ("lsh_thresholds", "LSHt", "LSH"), ("itq_lsh", "ITQ16,LSH", "LSH"),
        ("rq", "RQ2x4", "additive"), ("lsq", "LSQ2x4", "additive"), ("prq", "PRQ2x2x4", "additive"), ("plsq", "PLSQ2x2x4", "additive"),
        ("ivf_rq", "IVF4,RQ2x4", "additive"), ("ivf_lsq", "IVF4,LSQ2x4", "additive"), ("ivf_prq", "IVF4,PRQ2x2x4", "additive"),
        ("ivf_plsq", "IVF4,PLSQ2x2x4", "additive"), ("rq_fs", "RQ2x4fs_Nrq2x4", "FastScan"), ("lsq_fs", "LSQ2x4fs_Nlsq2x4", "FastScan"),
        ("prq_fs", "PRQ2x2x4fs_Nrq2x4", "FastScan"), ("plsq_fs", "PLSQ2x2x4fs_Nlsq2x4", "FastScan"), ("ivf_rq_fs", "IVF4,RQ2x4fs_Nrq2x4", "FastScan"),
        ("ivf_lsq_fs", "IVF4,LSQ2x4fs_Nlsq2x4", "FastScan"),
        ("rabitq", "RaBitQ", "RaBitQ"), ("ivf_rabitq", "IVF4,RaBitQ", "RaBitQ"), ("rabitq_fs", "RaBitQfs", "RaBitQ"),
        ("ivf_rabitq_fs", "IVF4,RaBitQfs", "RaBitQ"), ("rabitq_4", "RaBitQ4", "RaBitQ"), ("lattice", "ZnLattice2x3_4", "lattice"),
    ):
        def make(case, spec=spec, says=says):
            index = faiss.index_factory(d, spec)
            if "ZnLattice" in spec:
                index.train(x)
                # Faiss cannot write its rows; without them it is an empty index.
                kit.add(case, index, x[:0], may_refuse=True)
                return
            by_lists = isinstance(index, faiss.IndexIVF) and "fs" not in spec
            kit.refuse(case, filled(index, x), [says, "index.invlists.get_ids(list)" if by_lists else says])
        kit.attempt(f"refused_{name}", make)
    x_ids = kit.ids(400)
    for name, spec, says in (
        ("lsh", "IDMap,LSH", ["`IxHe` inside `IxMp`", "LSH"]),
        ("rq", "IDMap2,RQ2x4", ["`IxRq` inside `IxM2`", "index.index.reconstruct_n()", "index.id_map at row numbers"]),
        ("ivf_rq", "IDMap2,IVF4,RQ2x4", ["`IwRQ` inside `IxM2`", "index.index.reconstruct_from_offset(list, offset)",
                                        "index.id_map at index.index.invlists.get_ids(list)"]),
    ):
        kit.refuse(f"refused_map_{name}", filled(faiss.index_factory(d, spec), x, x_ids), says)
    for name, centres, trained in (("two_level", faiss.IndexFlatL2(d), 0), ("two_level_imi", imi(x), 1)):
        def two_level(name, centres=centres, trained=trained):
            index = faiss.Index2Layer(centres, 16, 4, 4)
            index.q1.quantizer_trains_alone = trained
            kit.refuse(name, filled(index, x), "two-level")
        kit.attempt(f"refused_{name}", two_level)
    kit.attempt("refused_spectral", lambda name: kit.refuse(
        name, filled(faiss.IndexIVFSpectralHash(faiss.IndexFlatL2(d), d, 4, 16, 1.0), x), "spectral"))
    kit.attempt("refused_eden", lambda name: kit.refuse(name, filled(faiss.IndexEDEN(d, L2, 2), x), "EDEN"))
    kit.attempt("refused_ivf_eden", lambda name: kit.refuse(
        name, filled(faiss.IndexIVFEDEN(faiss.IndexFlatL2(d), d, 4, L2, True, 2), x), "EDEN"))
    for name, spec in (("ivf", "IVF4,Flat"), ("pq", "PQ4x4np"), ("sq", "SQ8"), ("ivfpq", "IVF4,PQ4x4np"), ("pre", "OPQ4,Flat"),
                       ("ivfsq", "IVF4,SQ8"), ("ivfrq", "IVF4,RQ2x4"), ("rq", "RQ2x4"), ("map", "IDMap,IVF4,SQ8"), ("rabitq", "RaBitQ")):
        kit.refuse(f"untrained_{name}", faiss.index_factory(d, spec), "never trained", never_says="libfaiss")
    def no_lists(name):
        whole = kit.bytes_of(filled(ivf_flat(d, 4), x))
        kit.refuse(name, whole[: whole.index(b"ilar")] + b"il00", "lists", note="il00: the lists were not saved")
    no_lists("refused_il00")
    whole = kit.bytes_of(filled(ivf_flat(d, 4), x))
    kit.refuse("refused_invlists_unknown", whole.replace(b"ilar", b"ilxy"), "ilxy", note="from a hook of somebody's own")
    kit.refuse("refused_coarse_quantizer", imi(x), "", note="centres and no rows")


def imi(x):
    index = faiss.MultiIndexQuantizer(16, 2, 2)
    index.train(x)
    return index


def footer(raw):
    """What search engines on Lucene put behind a file."""
    start = b"\xc0\x28\x93\xe8" + bytes(4)
    return start + struct.pack(">Q", zlib.crc32(raw + start))


def transform():
    rotation = faiss.PCAMatrix(8, 4)
    writer = faiss.VectorIOWriter()
    faiss.write_VectorTransform(rotation, writer)
    return faiss.vector_to_array(writer.data).tobytes()


def damaged(kit):
    x, ids = kit.rows(60, 8), kit.ids(60)
    whole = {
        "flat": kit.bytes_of(filled(faiss.IndexFlatL2(8), x)),
        "idmap": kit.bytes_of(filled(faiss.IndexIDMap(faiss.IndexFlatL2(8)), x, ids)),
        "ivf": kit.bytes_of(filled(ivf_flat(8, 4), x, ids)),
        "hnsw": kit.bytes_of(filled(faiss.IndexHNSWFlat(8, 4), x)),
        "bin": kit.bytes_of(filled(faiss.IndexBinaryFlat(64), kit.bits(60, 64))),
        "pq": kit.bytes_of(filled(faiss.IndexPQ(8, 2, 4), x)),
    }
    for name, raw in whole.items():
        for what, cut in (("last", raw[:-1]), ("half", raw[: len(raw) // 2]), ("header", raw[:20]), ("four", raw[:4])):
            kit.refuse(f"cut_{name}_{what}", cut, [".index", "cut short"])
        kit.refuse(f"trailing_{name}", raw + b"\0", "1 bytes follow")
        kit.refuse(f"trailing_footer_{name}", raw + footer(raw)[:-1] + b"\x55", "CRC-32")
        kit.refuse(f"trailing_twice_{name}", raw + footer(raw) + footer(raw + footer(raw)), "32 bytes follow")
        kit.refuse(f"doubled_{name}", raw + raw, "")
    kit.refuse("bad_empty_file", b"", "empty")
    kit.refuse("bad_text", b"This is not the file you are looking for.\n", "it is text")
    kit.refuse("bad_hdf5", b"\x89HDF\r\n\x1a\n" + bytes(200), "HDF5")
    kit.refuse("bad_npy", b"\x93NUMPY\x01\x00" + bytes(200), ".npy")
    kit.refuse("bad_zeros", bytes(4096), "zeros")
    kit.refuse("bad_gzip", gzip.compress(whole["flat"]), "unpack it")
    kit.refuse("bad_pickle", pickle.dumps(whole["flat"]), "pickle")
    kit.refuse("bad_transform", transform(), "`Pcam`")
    kit.refuse("bad_missing", None, "", exit=[2])
    if kit.wanted("bad_directory"):
        (kit.out / "bad_directory.index").mkdir(exist_ok=True)
        kit.refuse("bad_directory", None, "", exit=[2, 3])
    raw = bytearray(whole["flat"])
    for name, at, value in (("d_negative", 4, -1), ("d_huge", 4, 2**31 - 1), ("d_zero", 4, 0)):
        kit.refuse(f"bad_{name}", bytes(raw[:at] + int(value).to_bytes(4, "little", signed=True) + raw[at + 4:]), "")
    for name, value in (("negative", -1), ("huge", 2**62), ("more", 61), ("less", 59), ("zero", 0)):
        kit.refuse(f"bad_ntotal_{name}", bytes(raw[:8] + int(value).to_bytes(8, "little", signed=True) + raw[16:]), "")
    for name, value in (("huge", 2**61), ("all", 2**64 - 1), ("wraps", 2**62 + 480)):
        kit.refuse(f"bad_words_{name}", bytes(raw[:37] + int(value).to_bytes(8, "little") + raw[45:]), "")
    kit.refuse("bad_metric", bytes(raw[:33] + (99).to_bytes(4, "little") + raw[37:]), "99")
    kit.refuse("bad_deep", b"IxMp" + raw[4:37], "")
    kit.refuse("bad_nesting", (b"IxMp" + raw[4:37]) * 5000, "")
    kit.refuse("bad_nesting_ivf", (b"IwFl" + raw[4:37] + bytes(16)) * 5000, "")
    kit.refuse("bad_nesting_transform", (b"Viqt" + bytes(9)) * 5000, "")
