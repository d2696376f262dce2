"""Layouts that Faiss still reads and no longer writes, laid by hand from /faiss/impl/index_read.cpp."""

import struct

import faiss
import numpy as np

import faiss_codes

NO_MAP = b"\0" + struct.pack("<Q", 0)


def vec(array):
    """A length and so many elements."""
    array = np.ascontiguousarray(array)
    return struct.pack("<Q", array.size) + array.tobytes()


def header(index):
    assert index.metric_type <= 1
    return struct.pack("<iqqqBi", index.d, index.ntotal, 1 << 20, 1 << 20, index.is_trained, index.metric_type)


def head(fourcc, index):
    """What an inverted file begins with, up to the direct map."""
    quantizer = faiss.serialize_index(index.quantizer).tobytes()
    return fourcc + header(index) + struct.pack("<QQ", index.nlist, index.nprobe) + quantizer


def lists_of(index):
    """Ids and codes of each list."""
    found = []
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size == 0:
            found.append((np.empty(0, np.int64), np.empty(0, np.uint8)))
            continue
        ids = faiss.rev_swig_ptr(index.invlists.get_ids(number), size).copy()
        codes = faiss.rev_swig_ptr(index.invlists.get_codes(number), size * index.code_size).copy()
        found.append((ids, codes))
    return found


def scalar(index):
    sq = index.sq
    fixed = struct.pack("<iifQQ", sq.qtype, sq.rangestat, sq.rangestat_arg, sq.d, sq.code_size)
    return fixed + vec(faiss.vector_to_array(sq.trained))


def product(pq):
    return struct.pack("<QQQ", pq.d, pq.M, pq.nbits) + vec(faiss.vector_to_array(pq.centroids))


def old_layouts(kit):
    d = 12
    x, ids = kit.rows(250, d), kit.ids(250)

    def made(index):
        index.train(x)
        index.add_with_ids(x, ids)
        return index

    centres = faiss.IndexFlatL2(d)
    index = made(faiss.IndexIVFFlat(centres, d, 40))
    lists = lists_of(index)
    old = head(b"IvFL", index) + b"".join(vec(i) for i, _ in lists) + NO_MAP
    kit.add("old_IvFL", old + b"".join(vec(codes) for _, codes in lists), x, ids, order="any")
    old = head(b"IvFl", index) + b"".join(vec(i) for i, _ in lists) + NO_MAP
    kit.add("old_IvFl", old + b"".join(vec(codes.view(np.float32)) for _, codes in lists), x, ids, order="any")
    array = b"\1" + vec(np.arange(250, dtype=np.int64))
    old = head(b"IvFl", index) + b"".join(vec(i) for i, _ in lists) + array
    kit.add("old_IvFl_map", old + b"".join(vec(codes.view(np.float32)) for _, codes in lists), x, ids, order="any")
    kit.refuse("old_IvFl_cut", (old + b"".join(vec(codes.view(np.float32)) for _, codes in lists))[:-4], "")

    for kind in ("QT_8bit", "QT_fp16", "QT_4bit_uniform"):
        centres = faiss.IndexFlatL2(d)
        index = made(faiss.IndexIVFScalarQuantizer(centres, d, 5, getattr(faiss.ScalarQuantizer, kind)))
        got_ids, got = faiss_codes.lists(index)
        lists = lists_of(index)
        whole = faiss.serialize_index(index).tobytes()
        more = {"order": "any", "lossy": "yes"}
        block = scalar(index) + struct.pack("<Q", index.code_size)
        tail = whole[whole.index(b"ilar"):]
        kit.add(f"old_IwSQ_{kind}", head(b"IwSQ", index) + NO_MAP + block + tail, got, got_ids, **more)
        old = head(b"IvSQ", index) + b"".join(vec(i) for i, _ in lists) + NO_MAP + block
        kit.add(f"old_IvSQ_{kind}", old + b"".join(vec(codes) for _, codes in lists), got, got_ids, **more)

    # Codes of no bytes: only the ids are there.
    none = struct.pack("<iifQQ", faiss.ScalarQuantizer.QT_0bit, 0, 0, d, 0) + vec(np.empty(0, np.float32))
    old = head(b"IwSq", index) + NO_MAP + none + struct.pack("<QB", 0, 1)
    old += b"ilar" + struct.pack("<QQ", index.nlist, 0) + b"full" + vec(np.array([len(i) for i, _ in lists], np.uint64))
    kit.refuse("ivfsq_0bit", old + b"".join(i.tobytes() for i, _ in lists), "")

    for residual in (True, False):
        index = faiss.index_factory(d, "IVF5,PQ4x4np")
        index.by_residual = residual
        made(index)
        got_ids, got = faiss_codes.lists(index)
        lists = lists_of(index)
        old = head(b"IvPQ", index) + b"".join(vec(i) for i, _ in lists) + NO_MAP
        old += struct.pack("<BQ", residual, index.code_size) + product(index.pq) + b"".join(vec(c) for _, c in lists)
        kit.add(f"old_IvPQ_{residual}", old, got, got_ids, order="any", lossy="yes")

    index = faiss.IndexPQ(d, 4, 4)
    index.train(x)
    index.add(x)
    body = header(index) + product(index.pq) + vec(faiss.vector_to_array(index.codes))
    got = faiss_codes.rows(index)
    kit.add("old_IxPQ", b"IxPQ" + body, got, lossy="yes")
    kit.add("old_IxPo", b"IxPo" + body + struct.pack("<iBi", 0, 0, 0), got, lossy="yes")

    def cagra(name):
        graph = faiss.IndexHNSWCagra(d, 8, faiss.METRIC_L2)
        graph.base_level_only = False
        graph.add(x)
        whole = faiss.serialize_index(graph).tobytes()
        assert whole[:4] == b"IHc2"
        # The numeric type stands after two flags and the number of entry points.
        kit.add(name, b"IHNc" + whole[4:43] + whole[47:], x)
    kit.attempt("old_IHNc", cagra)

    def panorama(name):
        centres = faiss.IndexFlatL2(d)
        index = faiss.IndexIVFFlatPanorama(centres, d, 5, 4, faiss.METRIC_L2, True, 128)
        made(index)
        whole = faiss.serialize_index(index).tobytes()
        at = whole.index(b"ilp2")
        assert whole[:4] == b"IwP2" and struct.unpack("<Q", whole[at - 8:at]) == (128,)
        # The size of a block stood neither before the lists nor, after nlist, code size and levels, in them.
        old = b"IwPn" + whole[4:at - 8] + b"ilpn" + whole[at + 4:at + 28] + whole[at + 36:]
        kit.add(name, old, x, ids, order="any")
    kit.attempt("old_IwPn", panorama)

    flat = faiss.IndexFlatL2(d)
    pca = faiss.PCAMatrix(d, d)
    index = faiss.IndexPreTransform(pca, flat)
    index.train(x)
    index.add(x)
    whole = faiss.serialize_index(index).tobytes()
    at = whole.index(b"Pcam") + 4
    # eigen_power 4, epsilon 4, random_rotation 1, balanced_bins 4
    middle = whole[:at - 4] + b"PcAm" + whole[at:at + 4] + whole[at + 8:]
    kit.add("old_PcAm", middle, x, tolerance=1e-5)
    oldest = whole[:at - 4] + b"PCAm" + whole[at:at + 4] + whole[at + 8:at + 9] + whole[at + 13:]
    kit.add("old_PCAm", oldest, x, tolerance=1e-5)
