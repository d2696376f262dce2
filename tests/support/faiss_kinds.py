"""Writes an index file of every kind that Faiss makes, and what milvusdm must make of it.

    faiss_kinds.py OUT_DIR [--seed N] [--only PREFIX ...] [--check] [--random N]

`--check` also reads each file back with Faiss. `--random N` writes N cases of random shape instead of the fixed ones.
"""

import argparse
import faulthandler
import sys

import faiss
import numpy as np

import faiss_bytes
import faiss_random
from faiss_kit import I64, STRANGE, Kit, decoded

L2, IP = faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT

METRICS = {
    "L2": L2, "IP": IP, "L1": faiss.METRIC_L1, "Linf": faiss.METRIC_Linf, "Lp": faiss.METRIC_Lp,
    "Canberra": faiss.METRIC_Canberra, "BrayCurtis": faiss.METRIC_BrayCurtis,
    "JensenShannon": faiss.METRIC_JensenShannon, "Jaccard": faiss.METRIC_Jaccard,
    "NaNEuclidean": faiss.METRIC_NaNEuclidean, "Gower": faiss.METRIC_GOWER,
}


def filled(index, x, ids=None):
    """The index, trained and filled."""
    if not index.is_trained:
        index.train(x)
    if ids is None:
        index.add(x)
    else:
        index.add_with_ids(x, ids)
    return index


def ivf_flat(d, nlist, metric=L2, quantizer=None):
    quantizer = quantizer or faiss.IndexFlat(d, metric)
    index = faiss.IndexIVFFlat(quantizer, d, nlist, metric)
    index.own_fields = True
    quantizer.this.disown()
    return index


def flat(kit):
    for name, metric in METRICS.items():
        x = np.abs(kit.rows(40, 12)) if name in ("JensenShannon", "Jaccard") else kit.rows(40, 12)
        index = faiss.IndexFlat(12, metric)
        index.metric_arg = 1.5
        kit.add(f"flat_metric_{name}", filled(index, x), x, metric=name)
    for d in (1, 2, 3, 7, 13, 33, 100, 1031):
        x = kit.rows(23, d)
        kit.add(f"flat_d{d}", filled(faiss.IndexFlatL2(d), x), x)
    kit.add("flat_empty", faiss.IndexFlatL2(8), kit.rows(0, 8))
    kit.add("flat_empty_l1", faiss.IndexFlat(8, faiss.METRIC_L1), kit.rows(0, 8), metric="L1")
    x = kit.rows(1, 8)
    kit.add("flat_one", filled(faiss.IndexFlatIP(8), x), x, metric="IP")
    x = np.tile(STRANGE, (6, 1))
    kit.add("flat_strange", filled(faiss.IndexFlatL2(16), x), x, note="NaN payloads, -0.0, infinities, denormals")
    x = kit.rows(3000, 20)
    kit.add("flat_long", filled(faiss.IndexFlatL2(20), x), x)
    x = kit.rows(30, 1)
    kit.add("flat_1d", filled(faiss.IndexFlat1D(True), x), x)
    index = filled(faiss.IndexFlatL2(9), x := kit.rows(50, 9))
    gone = np.array([0, 7, 8, 49])
    index.remove_ids(gone)
    kit.add("flat_removed", index, np.delete(x, gone, axis=0), note="Faiss shifts the rows that follow")
    a, b = kit.rows(10, 6), kit.rows(15, 6)
    index = filled(faiss.IndexFlatL2(6), a)
    index.merge_from(filled(faiss.IndexFlatL2(6), b))
    kit.add("flat_merged", index, np.concatenate([a, b]))


def id_maps(kit):
    x, ids = kit.rows(60, 10), kit.ids(60)
    for kind in (faiss.IndexIDMap, faiss.IndexIDMap2):
        kit.add(f"{kind.__name__}_flat", filled(kind(faiss.IndexFlatL2(10)), x, ids), x, ids)
    kit.add("idmap_l1", filled(faiss.IndexIDMap(faiss.IndexFlat(10, faiss.METRIC_L1)), x, ids), x, ids, metric="L1")
    kit.add("idmap_empty", faiss.IndexIDMap(faiss.IndexFlatL2(10)), kit.rows(0, 10))
    strange = np.tile(STRANGE, (60, 1))
    kit.add("idmap_strange", filled(faiss.IndexIDMap(faiss.IndexFlatL2(16)), strange, ids), strange, ids)
    same = np.repeat(ids[:20], 3)
    kit.add("idmap_repeated_ids", filled(faiss.IndexIDMap(faiss.IndexFlatL2(10)), x, same), x, same)
    index = filled(faiss.IndexIDMap2(faiss.IndexFlatL2(10)), x, ids)
    index.remove_ids(ids[::4])
    kept = np.arange(60) % 4 != 0
    kit.add("idmap2_removed", index, x[kept], ids[kept])
    # The labels of an inverted file are row numbers here, which its lists do not keep in order.
    x, ids = kit.rows(200, 10), kit.ids(200)
    index = filled(faiss.IndexIDMap(ivf_flat(10, 7)), x, ids)
    kit.add("idmap_ivf", index, x, ids, order="any", note="row number -> id, not position -> id")
    kit.add("idmap2_ivf_sq", *lossy_ids(faiss.IndexIDMap2(faiss.index_factory(10, "IVF4,SQ8")), x, ids),
            order="any", lossy="yes", tolerance=1e-5)
    kit.add("idmap2_hnsw", filled(faiss.IndexIDMap2(faiss.IndexHNSWFlat(10, 8)), x, ids), x, ids)
    index = faiss.IndexIDMap(faiss.index_factory(10, "PQ5x4np,RFlat"))
    kit.add("idmap_refine", filled(index, x, ids), x, ids)
    index = faiss.IndexIDMap(faiss.index_factory(10, "IVF4,PQ5x4np,RFlat"))
    kit.add("idmap_refine_ivfpq", filled(index, x, ids), x, ids)
    index = faiss.IndexIDMap2(faiss.index_factory(10, "RR10,IVF4,Flat"))
    kit.add("idmap2_rotated_ivf", filled(index, x, ids), x, ids, order="any", tolerance=1e-5)
    # Faiss looks an inner label up in the outer map, so the inner ids have to be row numbers of a kind.
    inner_ids = kit.rng.permutation(200)
    inner = filled(faiss.IndexIDMap(faiss.IndexFlatL2(10)), x, inner_ids)
    kept, inner.ntotal = inner.ntotal, 0
    outer = faiss.IndexIDMap(inner)
    inner.ntotal = outer.ntotal = kept
    faiss.copy_array_to_vector(ids, outer.id_map)
    kit.add("idmap_idmap", outer, x, ids[inner_ids], may_refuse=True)
    inner = filled(ivf_flat(10, 4), x, np.arange(1000, 1200))
    kept, inner.ntotal = inner.ntotal, 0
    outer = faiss.IndexIDMap(inner)
    inner.ntotal = outer.ntotal = kept
    faiss.copy_array_to_vector(np.arange(200), outer.id_map)
    kit.refuse("idmap_ivf_labels_beyond", outer, "", note="labels of the lists are not row numbers")


def lossy_ids(index, x, ids):
    """An id map over a lossy index, and what Faiss decodes of it."""
    filled(index, x, ids)
    inner = faiss.downcast_index(index.index)
    labels, rows = decoded(inner)
    return index, rows, ids[labels]


def ivf(kit):
    x, ids = kit.rows(300, 16), kit.ids(300)
    for name in ("L2", "IP", "L1", "Linf", "Lp", "Canberra"):
        index = filled(ivf_flat(16, 8, METRICS[name]), x, ids)
        kit.add(f"ivf_metric_{name}", index, x, ids, order="any", metric=name)
    kit.add("ivf_rows", filled(ivf_flat(16, 8), x), x, order="any")
    index = ivf_flat(16, 64)
    index.train(kit.rows(200, 16))
    index.add_with_ids(x[:9], ids[:9])
    kit.add("ivf_lists_sparse", index, x[:9], ids[:9], order="any", note="at most half the lists have rows")
    index = ivf_flat(16, 8)
    index.train(x)
    kit.add("ivf_empty", index, kit.rows(0, 16), order="any")
    one = kit.rows(1, 16)
    kit.add("ivf_one", filled(ivf_flat(16, 1), one), one, order="any")
    for d in (1, 3, 5, 31):
        y = kit.rows(90, d)
        kit.add(f"ivf_d{d}", filled(ivf_flat(d, 4), y, kit.ids(90)), y, last_ids(kit), order="any")
    index = filled(ivf_flat(16, 8), x)
    index.set_direct_map_type(faiss.DirectMap.Array)
    kit.add("ivf_map_array", index, x, order="any")
    index = filled(ivf_flat(16, 8), x, ids)
    index.set_direct_map_type(faiss.DirectMap.Hashtable)
    kit.add("ivf_map_hash", index, x, ids, order="any")
    index = filled(ivf_flat(16, 8), x, ids)
    index.set_direct_map_type(faiss.DirectMap.Hashtable)
    index.remove_ids(faiss.IDSelectorArray(ids[::3]))
    kept = np.arange(300) % 3 != 0
    kit.add("ivf_map_hash_removed", index, x[kept], ids[kept], order="any")
    index = filled(ivf_flat(16, 8), x, ids)
    index.remove_ids(ids[:150])
    kit.add("ivf_removed", index, x[150:], ids[150:], order="any")
    index = filled(ivf_flat(16, 8), x, ids)
    index.remove_ids(ids)
    kit.add("ivf_all_removed", index, x[:0], ids[:0], order="any")
    index = filled(ivf_flat(16, 8), x)
    index.set_direct_map_type(faiss.DirectMap.Array)
    y = x.copy()
    y[::5] = kit.rows(60, 16)
    index.update_vectors(np.arange(0, 300, 5), y[::5])
    kit.add("ivf_updated", index, y, order="any")
    a, b = ivf_flat(16, 8), ivf_flat(16, 8)
    a.train(x)
    b.train(x)
    a.add(x[:100])
    b.add(x[100:])
    a.merge_from(b, 100)
    kit.add("ivf_merged", a, x, order="any")
    same = np.repeat(ids[:100], 3)
    kit.add("ivf_repeated_ids", filled(ivf_flat(16, 8), x, same), x, same, order="any")
    # A row of NaN is nearest to nothing: Faiss counts it in ntotal and puts it into no list.
    y = x.copy()
    y[[3, 77]] = np.nan
    index = ivf_flat(16, 8)
    index.train(x)
    index.add(y)
    kept_ids, kept = decoded(index)
    kit.add("ivf_ntotal_counts_more", index, kept, kept_ids, order="any", note=f"ntotal {index.ntotal}, lists {len(kept)}")
    # Strange bits that are no NaN do get into lists.
    y = x.copy()
    y[:, :4] = np.resize(np.array([-0.0, 1e-45, -1e-45, 1e-39], np.float32), (300, 4))
    kit.add("ivf_strange", filled(ivf_flat(16, 8), y, ids), y, ids, order="any")
    long = kit.rows(4000, 24)
    kit.add("ivf_long", filled(ivf_flat(24, 40), long, kit.ids(4000)), long, last_ids(kit), order="any")
    # Duplicates are kept once, with a table of the others.
    y = x.copy()
    y[100:200] = y[:100]
    y[200:250] = y[7]
    index = faiss.IndexIVFFlatDedup(faiss.IndexFlatL2(16), 16, 8, L2)
    kit.add("ivf_dedup", filled(index, y, ids), y, ids, order="any")
    index = faiss.IndexIVFFlatDedup(faiss.IndexFlatL2(16), 16, 8, L2)
    kit.add("ivf_dedup_none", filled(index, x, ids), x, ids, order="any")
    index = filled(faiss.IndexIVFFlatDedup(faiss.IndexFlatL2(16), 16, 8, L2), y, ids)
    index.remove_ids(faiss.IDSelectorArray(ids[:50]))
    kit.add("ivf_dedup_removed", index, y[50:], ids[50:], order="any")


_last = {}


def last_ids(kit):
    """The ids made last, for cases that make them in passing."""
    return _last[id(kit)]


def remember_ids(kit):
    make = kit.ids

    def ids(n):
        _last[id(kit)] = make(n)
        return _last[id(kit)]

    kit.ids = ids


def quantizers(kit):
    """Inverted files whose centres are kept by every kind of index: all have to be passed over."""
    x, ids = kit.rows(400, 16), kit.ids(400)
    for name, spec in {
        "hnsw": "IVF16_HNSW8,Flat", "imi": "IMI2x2,Flat", "rcq": "RCQ2x2,Flat", "pqfs": "IVF16(PQ4x4fs),Flat",
        "pqfsr": "IVF16(PQ4x4fsr),Flat", "sq8": "IVF16(SQ8),Flat", "pq": "IVF16(PQ4x4np),Flat", "ivf": "IVF16(IVF4,Flat),Flat",
        "refine": "IVF16(PQ4x4np,RFlat),Flat", "nsg": "IVF16_NSG4,Flat", "rotated": "IVF16(RR8,Flat),Flat",
        "lsh": "IVF16(LSH),Flat", "rabitq": "IVF16(RaBitQ),Flat", "rq": "IVF16(RQ2x4),Flat", "ivfpq": "IVF16(IVF4,PQ4x4np),Flat",
        "ivfpqfs": "IVF16(IVF4,PQ4x4fs),Flat", "ivfsq": "IVF16(IVF4,SQ6),Flat", "hnswsq": "IVF16(HNSW8,SQ8),Flat",
        "lsq": "IVF16(LSQ2x4),Flat", "prq": "IVF16(PRQ2x2x4),Flat", "rqfs": "IVF16(RQ2x4fs_Nrq2x4),Flat",
        "idmap": "IVF16(Flat),Flat", "opq": "IVF16(OPQ4,PQ4x4np),Flat",
    }.items():
        def make(name, spec=spec):
            kit.add(name, filled(faiss.index_factory(16, spec), x, ids), x, ids, order="any")
        kit.attempt(f"quantizer_{name}", make)
    def nested(name):
        inner = ivf_flat(16, 4)
        inner.train(x)
        index = ivf_flat(16, 16, L2, inner)
        index.quantizer_trains_alone = 0
        kit.add(name, filled(index, x, ids), x, ids, order="any")
    kit.attempt("quantizer_ivf_by_hand", nested)
    def refined(name):
        index = ivf_flat(16, 16, L2, faiss.IndexRefineFlat(faiss.IndexScalarQuantizer(16, faiss.ScalarQuantizer.QT_8bit)))
        kit.add(name, filled(index, x, ids), x, ids, order="any")
    kit.attempt("quantizer_refine_by_hand", refined)
    def cagra(name):
        index = ivf_flat(16, 16, L2, faiss.IndexHNSWCagra(16, 8))
        kit.add(name, filled(index, x, ids), x, ids, order="any")
    kit.attempt("quantizer_cagra", cagra)
    def independent(name):
        vt = faiss.RandomRotationMatrix(16, 8)
        vt.init(3)
        quantizer, inner = faiss.IndexFlatL2(16), ivf_flat(16, 8)
        index = faiss.IndexIVFIndependentQuantizer(quantizer, inner)
        index.train(x)
        index.add(x)
        kit.add(name, index, x, order="any")
    kit.attempt("ivf_independent", independent)
    def independent_rotated(name):
        vt = faiss.RandomRotationMatrix(16, 16)
        vt.init(3)
        index = faiss.IndexIVFIndependentQuantizer(faiss.IndexFlatL2(16), ivf_flat(16, 8), vt)
        index.train(x)
        index.add(x)
        kit.add(name, index, x, order="any", tolerance=1e-5)
    kit.attempt("ivf_independent_rotated", independent_rotated)
    def independent_pq(name):
        inner = faiss.IndexIVFPQ(faiss.IndexFlatL2(16), 16, 8, 4, 4)
        index = faiss.IndexIVFIndependentQuantizer(faiss.IndexFlatL2(16), inner)
        index.train(x)
        index.add(x)
        got_ids, got = decoded(inner)
        kit.add(name, index, got, got_ids, order="any", lossy="yes", tolerance=1e-5)
    kit.attempt("ivf_independent_pq", independent_pq)


def on_disk(kit):
    x, ids = kit.rows(333, 12), kit.ids(333)

    def index(data, rows=x, labels=ids, d=12, steps=1):
        made = ivf_flat(d, 9)
        made.train(rows)
        lists = faiss.OnDiskInvertedLists(made.nlist, made.code_size, str(data))
        made.replace_invlists(lists, True)
        lists.this.disown()
        for part in np.array_split(np.arange(len(rows)), steps):
            made.add_with_ids(rows[part], labels[part])
        return made

    def add(name, move=None, settings=None, steps=1, **more):
        if not kit.wanted(name):
            return
        data = kit.out / f"{name}.ivfdata"
        made = index(data, steps=steps)
        kit.write(name, made, 0)
        del made
        raw = (kit.out / f"{name}.index").read_bytes()
        kit.add(name, move(raw, data) if move else raw, x, ids, order="any", synthetic=False, source=settings or {}, **more)

    def renamed(to):
        def move(raw, data):
            # Only the name changes, and its length before it.
            old = str(data).encode()
            new = to.encode()
            at = raw.index(len(old).to_bytes(8, "little") + old)
            return raw[:at] + len(new).to_bytes(8, "little") + new + raw[at + 8 + len(old):]
        return move

    add("ondisk")
    add("ondisk_steps", steps=7, note="capacity > size, free slots")
    add("ondisk_moved", renamed("/nonexistent/build/host/ondisk_moved.ivfdata"), note="its data lie beside the index")
    add("ondisk_windows_name", renamed("ondisk_windows_name.ivfdata"), note="a bare name; the data lie beside the index")
    add("ondisk_relative", renamed("some/where/ondisk_relative.ivfdata"))
    if kit.wanted("ondisk_lists"):
        (kit.out / "elsewhere").mkdir(exist_ok=True)
        there = kit.out / "elsewhere" / "renamed.bin"

        def away(raw, data):
            data.rename(there)
            return renamed("/nonexistent/ondisk_lists.ivfdata")(raw, data)
        add("ondisk_lists", away, {"lists": str(there)})
    def removed_rows(name):
        if not kit.wanted(name):
            return
        data = kit.out / f"{name}.ivfdata"
        made = index(data)
        made.remove_ids(faiss.IDSelectorArray(ids[:100]))
        kit.add(name, made, x[100:], ids[100:], order="any")
    kit.attempt("ondisk_removed", removed_rows)
    def empty(name):
        if not kit.wanted(name):
            return
        made = ivf_flat(12, 9)
        made.train(x)
        lists = faiss.OnDiskInvertedLists(9, made.code_size, str(kit.out / f"{name}.ivfdata"))
        made.replace_invlists(lists, True)
        lists.this.disown()
        kit.add(name, made, x[:0], ids[:0], order="any", note="no data file was ever made")
    kit.attempt("ondisk_empty", empty)
    def merged(name):
        parts = []
        for i in range(3):
            part = ivf_flat(12, 9)
            part.train(x)
            part.add_with_ids(x[i::3], ids[i::3])
            parts.append(part)
        made = ivf_flat(12, 9)
        made.train(x)
        lists = faiss.OnDiskInvertedLists(9, made.code_size, str(kit.out / f"{name}.ivfdata"))
        vector = faiss.InvertedListsPtrVector()
        for part in parts:
            vector.push_back(part.invlists)
        made.ntotal = lists.merge_from(vector.data(), vector.size())
        made.replace_invlists(lists, True)
        lists.this.disown()
        kit.add(name, made, x, ids, order="any", note="as the demo of Faiss merges shards")
    kit.attempt("ondisk_merged", merged)
    def pq(name):
        made = faiss.index_factory(12, "IVF9,PQ4x4np")
        made.train(x)
        lists = faiss.OnDiskInvertedLists(9, made.code_size, str(kit.out / f"{name}.ivfdata"))
        made.replace_invlists(lists, True)
        lists.this.disown()
        made.add_with_ids(x, ids)
        got_ids, got = decoded(made)
        kit.add(name, made, got, got_ids, order="any", lossy="yes", tolerance=1e-5)
    kit.attempt("ondisk_pq", pq)
    def missing(name):
        made = index(kit.out / f"{name}.ivfdata")
        kit.refuse(name, made, f"{name}.ivfdata", exit=[2, 3], note="the data file is gone")
        (kit.out / f"{name}.ivfdata").unlink(missing_ok=True)
    kit.attempt("ondisk_data_missing", missing)
    def cut(name):
        if not kit.wanted(name):
            return
        data = kit.out / f"{name}.ivfdata"
        made = index(data)
        kit.refuse(name, made, f"{name}.ivfdata", note="the data file is cut short")
        del made
        data.write_bytes(data.read_bytes()[:-4000])
    kit.attempt("ondisk_data_cut", cut)
    def lists_missing(name):
        made = index(kit.out / f"{name}.ivfdata")
        kit.refuse(name, made, "nowhere.bin", exit=[2, 3], source={"lists": str(kit.out / "nowhere.bin")})
    kit.attempt("ondisk_lists_missing", lists_missing)


def transforms(kit):
    d = 16
    x, ids = kit.rows(500, d) + np.float32(0.5), kit.ids(500)

    def add(name, chain, inner=None, vectors=None, labels=None, **more):
        def make(name):
            index = faiss.IndexPreTransform(inner or faiss.IndexFlatL2(chain[-1].d_out))
            for transform in reversed(chain):
                index.prepend_transform(transform)
            keep.append((index, chain, inner))
            filled(index, x, labels)
            want = vectors(index) if vectors else x
            kit.add(name, index, want, labels, **{"tolerance": 1e-5, **more})
        kit.attempt(name, make)

    keep = []
    def rotation(a, b, seed=5):
        vt = faiss.RandomRotationMatrix(a, b)
        vt.init(seed)
        return vt
    def projected(index):
        return index.reconstruct_n(0, index.ntotal)

    def stored(index):
        inner = faiss.downcast_index(index.index)
        return inner.reconstruct_n(0, inner.ntotal)

    add("pre_rotation", [rotation(d, d)])
    add("pre_rotation_up", [rotation(d, 24)], note="columns are orthonormal: the transpose is the inverse")
    add("pre_rotation_down", [rotation(d, 8)], vectors=projected, lossy="yes")
    add("pre_opq", [faiss.OPQMatrix(d, 4)])
    add("pre_opq_down", [faiss.OPQMatrix(d, 4, 8)], vectors=projected, lossy="yes")
    add("pre_pca_same", [faiss.PCAMatrix(d, d)])
    add("pre_pca_rotated", [faiss.PCAMatrix(d, d, 0, True)])
    add("pre_pca_down", [faiss.PCAMatrix(d, 6)], vectors=projected, lossy="yes")
    add("pre_pca_white", [faiss.PCAMatrix(d, d, -0.5)], may_refuse=True, tolerance=1e-4,
        note="not orthonormal, though it could be inverted")
    add("pre_centring", [faiss.CenteringTransform(d)], tolerance=1e-6)
    add("pre_l2norm", [faiss.NormalizationTransform(d, 2.0)], vectors=stored, tolerance=0.0,
        note="lengths are gone; unit rows are carried")
    index = faiss.IndexPreTransform(faiss.NormalizationTransform(d, 2.0), faiss.IndexFlatIP(d))
    filled(index, x)
    kit.add("pre_l2norm_ip", index, stored(index), metric=["IP", "COSINE"])
    add("pre_remap_up", [faiss.RemapDimensionsTransform(d, 24, True)], tolerance=0.0)
    add("pre_remap_down", [faiss.RemapDimensionsTransform(d, 10, False)], vectors=projected, lossy="yes")
    order = np.random.default_rng(4).permutation(d).astype(np.int32)
    remap = faiss.RemapDimensionsTransform(d, d, True)
    faiss.copy_array_to_vector(order, remap.map)
    add("pre_remap_permuted", [remap], tolerance=0.0)
    add("pre_itq_matrix", [faiss.ITQMatrix(d)], note="a rotation")
    add("pre_hadamard", [faiss.HadamardRotation(d, 77)])
    vt = faiss.LinearTransform(d, d, True)
    matrix = np.eye(d, dtype=np.float32) * 2
    faiss.copy_array_to_vector(matrix.ravel(), vt.A)
    faiss.copy_array_to_vector(np.arange(d, dtype=np.float32), vt.b)
    vt.is_trained = True
    add("pre_linear_scaled", [vt], may_refuse=True, note="not orthonormal")
    vt = faiss.LinearTransform(d, d, True)
    turned = rotation(d, d, 8)
    faiss.copy_array_to_vector(faiss.vector_to_array(turned.A), vt.A)
    faiss.copy_array_to_vector(np.arange(d, dtype=np.float32), vt.b)
    vt.is_trained = True
    add("pre_linear_biased", [vt], tolerance=3e-5)
    add("pre_identity_dim1", [rotation(d, d, 2)], inner=faiss.IndexHNSWFlat(d, 8))
    add("pre_chain_rotations", [rotation(d, d, 1), rotation(d, d, 2), rotation(d, d, 3)])
    add("pre_chain_centre_rotate", [faiss.CenteringTransform(d), rotation(d, 24)])
    add("pre_chain_remap_opq", [faiss.RemapDimensionsTransform(d, 20, True), faiss.OPQMatrix(20, 4)])
    norm_first = [faiss.NormalizationTransform(d, 2.0), rotation(d, d, 9)]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    add("pre_chain_norm_rotate", norm_first, vectors=lambda index: unit, note="unit rows, rotated back")
    add("pre_chain_rotate_norm", [rotation(d, d, 9), faiss.NormalizationTransform(d, 2.0)], vectors=lambda index: unit)
    centred = faiss.CenteringTransform(d)
    def centred_unit(index):
        mean = faiss.vector_to_array(centred.mean)
        y = x - mean
        return (y / np.linalg.norm(y, axis=1, keepdims=True) + mean).astype(np.float32)
    add("pre_chain_centre_norm", [centred, faiss.NormalizationTransform(d, 2.0)], vectors=centred_unit, lossy="yes",
        may_refuse=True, note="neither the rows nor unit rows")
    add("pre_ivf_ids", [rotation(d, d, 4)], inner=ivf_flat(d, 5), labels=ids, order="any")
    add("pre_strange_hnsw", [faiss.RemapDimensionsTransform(d, 24, False)], inner=faiss.IndexHNSWFlat(24, 4), tolerance=0.0)
    index = faiss.index_factory(d, "OPQ4,IVF6,PQ4x4np")
    filled(index, x, ids)
    inner = faiss.downcast_index(index.index)
    got_ids, got = decoded(inner)
    back = faiss.downcast_VectorTransform(index.chain.at(0)).reverse_transform(got)
    kit.add("pre_opq_ivfpq", index, back, got_ids, order="any", lossy="yes", tolerance=1e-5)
    index = faiss.index_factory(d, "OPQ4,PQ4x4np,RFlat")
    kit.add("pre_refine_in", filled(index, x), x, tolerance=1e-5, note="may be refine of a pre-transform, or the reverse")
    index = faiss.IndexPreTransform(faiss.ITQTransform(d, d, False), faiss.IndexFlatL2(d))
    kit.add("pre_itq", filled(index, x), x, lossy="yes", may_refuse=True, tolerance=1e9, note="centred, normalised, rotated")
    index = faiss.IndexPreTransform(faiss.IndexFlatL2(d))
    kit.add("pre_empty_chain", filled(index, x), x)
    index = faiss.IndexPreTransform(faiss.PCAMatrix(d, d), faiss.IndexFlatL2(d))
    index.train(x)
    kit.add("pre_no_rows", index, x[:0])
    index = faiss.IndexPreTransform(rotation(d, 8), faiss.IndexFlatL2(8))
    kit.add("pre_down_no_rows", index, x[:0], lossy="no", may_refuse=True)


def graphs(kit):
    d = 14
    x, ids = kit.rows(300, d), kit.ids(300)
    for metric in ("L2", "IP", "L1"):
        kit.add(f"hnsw_{metric}", filled(faiss.IndexHNSWFlat(d, 8, METRICS[metric]), x), x, metric=metric)
    index = faiss.IndexHNSWFlat(d, 4)
    for part in np.array_split(x, 6):
        index.add(part)
    kit.add("hnsw_steps", index, x)
    kit.add("hnsw_empty", faiss.IndexHNSWFlat(d, 4), x[:0])
    kit.add("hnsw_one", filled(faiss.IndexHNSWFlat(d, 4), x[:1]), x[:1])
    for m in (2, 33):
        kit.add(f"hnsw_m{m}", filled(faiss.IndexHNSWFlat(d, m), x), x)
    y = np.tile(STRANGE, (20, 1))
    kit.add("hnsw_strange", filled(faiss.IndexHNSWFlat(16, 8), y), y)
    kit.attempt("hnsw_plain", lambda name: kit.add(name, filled(faiss.IndexHNSW(faiss.IndexFlatL2(d), 8), x), x))
    def cagra(base_only):
        def make(name):
            index = faiss.IndexHNSWCagra(d, 8, L2)
            index.base_level_only = False
            index.add(x)
            index.base_level_only = base_only
            kit.add(name, index, x)
        return make
    kit.attempt("hnsw_cagra", cagra(False))
    kit.attempt("hnsw_cagra_base", cagra(True))
    def cagra_half(name):
        index = faiss.IndexHNSWCagra(d, 8, L2, faiss.Float16)
        filled(index, x)
        kit.add(name, index, index.reconstruct_n(0, 300), lossy="yes")
    kit.attempt("hnsw_cagra_fp16", cagra_half)
    def cagra_int8(name):
        index = faiss.IndexHNSWCagra(d, 8, L2, faiss.Int8)
        y = kit.rng.integers(-128, 128, (300, d)).astype(np.float32)
        kit.add(name, filled(index, y), y)
    kit.attempt("hnsw_cagra_int8", cagra_int8)
    for kind in ("NSG8,Flat", "NSG4,Flat"):
        kit.attempt(f"nsg_{kind[3]}", lambda name, kind=kind: kit.add(name, nsg(d, kind, x), x))
    def nsg_ip(name):
        index = faiss.IndexNSGFlat(d, 8, IP)
        index.build_type = 1
        kit.add(name, filled(index, x), x, metric="IP")
    kit.attempt("nsg_ip", nsg_ip)
    kit.attempt("nsg_empty", lambda name: kit.add(name, faiss.IndexNSGFlat(d, 8), x[:0]))
    def descent(name):
        index = faiss.IndexNNDescentFlat(d, 16)
        index.nndescent.S, index.nndescent.R, index.nndescent.L = 8, 20, 24
        kit.add(name, filled(index, x), x)
    kit.attempt("nndescent", descent)
    kit.attempt("nndescent_empty", lambda name: kit.add(name, faiss.IndexNNDescentFlat(d, 16), x[:0]))
    lossy_graphs = {"hnsw_sq8": "HNSW8_SQ8", "hnsw_sq4": "HNSW8_SQ4", "hnsw_sq6": "HNSW8_SQ6", "hnsw_fp16": "HNSW8_SQfp16",
                    "hnsw_bf16": "HNSW8_SQbf16", "nsg_pq": "NSG8_PQ7x4np", "nsg_sq": "NSG8_SQ8"}
    many = kit.rows(400, d)
    for name, spec in lossy_graphs.items():
        def make(name, spec=spec):
            index = faiss.index_factory(d, spec)
            filled(index, many)
            storage = faiss.downcast_index(index.storage)
            kit.add(name, index, storage.reconstruct_n(0, 400), lossy="yes", tolerance=1e-6)
        kit.attempt(name, make)
    def hnsw_pq(name):
        index = faiss.IndexHNSWPQ(d, 7, 8, 4)
        filled(index, many)
        kit.add(name, index, faiss.downcast_index(index.storage).reconstruct_n(0, 400), lossy="yes")
    kit.attempt("hnsw_pq", hnsw_pq)
    def two_level(name):
        centres = faiss.IndexFlatL2(16)
        index = faiss.IndexHNSW2Level(centres, 8, 4, 8)
        y = kit.rows(400, 16)
        kit.refuse(name, filled(index, y), "two-level")
    kit.attempt("hnsw_2level", two_level)
    def rabitq(name):
        kit.refuse(name, filled(faiss.IndexHNSWRaBitQ(d, 8), many), "")
    kit.attempt("hnsw_rabitq", rabitq)
    def skipped(name):
        kit.refuse(name, filled(faiss.IndexHNSWFlat(d, 8), x), "null", flags=faiss.IO_FLAG_SKIP_STORAGE,
                   note="IO_FLAG_SKIP_STORAGE")
    kit.attempt("hnsw_null", skipped)
    index = filled(faiss.IndexIDMap2(faiss.IndexHNSWFlat(d, 8)), x, ids)
    kit.add("idmap_hnsw_skip_storage", index, x, ids, flags=faiss.IO_FLAG_SKIP_STORAGE,
            note="the flag does not reach the index inside: the vectors are there")
    whole = kit.bytes_of(index)
    at = whole.index(b"IxF2")
    kit.refuse("idmap_hnsw_null", whole[:at] + b"null" + whole[at + 45 + 4 * d * 300:], "null")


def nsg(d, spec, x):
    index = faiss.index_factory(d, spec)
    index.GK = 16
    return filled(index, x)


def refine(kit):
    d = 16
    x = kit.rows(400, d)
    for name, spec in {"pq": "PQ4x4np,RFlat", "sq8": "SQ8,RFlat", "ivfpq": "IVF4,PQ4x4np,RFlat", "flat": "Flat,RFlat",
                       "hnsw": "HNSW8,RFlat", "pqfs": "PQ4x4fs,RFlat", "ivfpqfs": "IVF4,PQ4x4fs,RFlat", "lsh": "LSH,RFlat",
                       "rabitq": "RaBitQ,RFlat", "ivfrabitq": "IVF4,RaBitQ,RFlat", "rq": "RQ2x4,RFlat", "rqfs": "RQ2x4fs_Nrq2x4,RFlat",
                       "lsq": "LSQ2x4,RFlat", "prq": "PRQ2x2x4,RFlat", "ivfrq": "IVF4,RQ2x4,RFlat", "ivfrqfs": "IVF4,RQ2x4fs_Nrq2x4,RFlat",
                       "plsq": "PLSQ2x2x4,RFlat", "ivflsqfs": "IVF4,LSQ2x4fs_Nlsq2x4,RFlat", "prqfs": "PRQ2x2x4fs_Nrq2x4,RFlat",
                       "rabitqfs": "RaBitQfs,RFlat", "ivfrabitqfs": "IVF4,RaBitQfs,RFlat", "rabitq4": "RaBitQ4,RFlat",
                       "rabitqfs4": "RaBitQfs4,RFlat", "ivfrabitq3": "IVF4,RaBitQ3,RFlat",
                       "plsqfs": "PLSQ2x2x4fs_Nlsq2x4,RFlat", "ivfprq": "IVF4,PRQ2x2x4,RFlat", "ivfprqfs": "IVF4,PRQ2x2x4fs_Nrq2x4,RFlat",
                       "ivfplsq": "IVF4,PLSQ2x2x4,RFlat", "ivfplsqfs": "IVF4,PLSQ2x2x4fs_Nlsq2x4,RFlat", "ivflsq": "IVF4,LSQ2x4,RFlat",
                       "rq_norm": "RQ2x4_Nqint8,RFlat", "rq_norm4": "RQ2x4_Nqint4,RFlat", 
                       "rq_float": "RQ2x4_Nfloat,RFlat", "rq_lsq_norm": "RQ2x4_Nlsq2x4,RFlat", "rqfs_bbs": "RQ2x4fs_64_Nlsq2x4,RFlat",
                       "itq_lsh": "ITQ16,LSH,RFlat"}.items():
        def make(name, spec=spec):
            index = faiss.index_factory(d, spec)
            more = {"tolerance": 1e-5} if isinstance(index, faiss.IndexPreTransform) else {}
            if "ITQ" in spec:
                more = {"may_refuse": True, "tolerance": 1e9}
            kit.add(name, filled(index, x), x, **more, note=spec)
        kit.attempt(f"refine_{name}", make)
    def eden(name):
        index = faiss.IndexRefineFlat(faiss.IndexEDEN(d, L2, 2))
        kit.add(name, filled(index, x), x)
    kit.attempt("refine_eden", eden)
    def spectral(name):
        index = faiss.IndexRefineFlat(faiss.IndexIVFSpectralHash(faiss.IndexFlatL2(d), d, 4, 16, 1.0))
        kit.add(name, filled(index, x), x)
    kit.attempt("refine_spectral", spectral)
    def not_flat(spec):
        def make(name):
            index = filled(faiss.index_factory(d, spec), x)
            better = faiss.downcast_index(index.refine_index)
            kit.add(name, index, better.reconstruct_n(0, 400), lossy="yes", tolerance=1e-5)
        return make
    kit.attempt("refine_with_sq8", not_flat("PQ4x4np,Refine(SQ8)"))
    kit.attempt("refine_with_pq", not_flat("PQ2x4np,Refine(PQ8x4np)"))
    kit.attempt("refine_with_fp16", not_flat("IVF4,PQ4x4np,Refine(SQfp16)"))
    # The base has the rows exactly, the refinement only roughly: the base is the better source.
    def backwards(name):
        index = faiss.IndexRefine(faiss.IndexFlatL2(d), faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_4bit))
        index.train(x)
        index.add(x)
        kit.add(name, index, x, may_refuse=True, note="exact base, rough refinement")
    kit.attempt("refine_backwards", backwards)
    kit.attempt("refine_empty", lambda name: kit.add(name, faiss.IndexRefineFlat(faiss.IndexFlatL2(d)), x[:0]))


def scalar_types():
    kinds = faiss.ScalarQuantizer
    return {"8bit": kinds.QT_8bit, "4bit": kinds.QT_4bit, "8bit_uniform": kinds.QT_8bit_uniform,
            "4bit_uniform": kinds.QT_4bit_uniform, "fp16": kinds.QT_fp16, "bf16": kinds.QT_bf16, "6bit": kinds.QT_6bit}


def scalar(kit):
    d = 19
    x, ids = kit.rows(200, d) * np.float32(3), kit.ids(200)
    for name, kind in scalar_types().items():
        for metric in ("L2", "IP"):
            index = filled(faiss.IndexScalarQuantizer(d, kind, METRICS[metric]), x)
            exact = name in ("fp16", "bf16")
            kit.add(f"sq_{name}_{metric}", index, index.reconstruct_n(0, 200), lossy="yes", metric=metric,
                    tolerance=0.0 if exact else 1e-6)
        for residual in (True, False):
            for metric in ("L2", "IP"):
                index = faiss.IndexIVFScalarQuantizer(faiss.IndexFlat(d, METRICS[metric]), d, 5, kind, METRICS[metric], residual)
                got_ids, got = decoded(filled(index, x, ids))
                kit.add(f"ivfsq_{name}_{metric}{'' if residual else '_plain'}", index, got, got_ids, lossy="yes",
                        order="any", metric=metric, tolerance=1e-6)
    whole = kit.rng.integers(0, 256, (200, d)).astype(np.float32)
    kit.add("sq_direct", filled(faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit_direct), whole), whole,
            note="bytes that were bytes")
    kit.add("sq_direct_signed", filled(faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit_direct_signed), whole - 128),
            whole - 128)
    for name, kind, y in (("direct", faiss.ScalarQuantizer.QT_8bit_direct, whole),
                          ("direct_signed", faiss.ScalarQuantizer.QT_8bit_direct_signed, whole - 128)):
        index = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatL2(d), d, 5, kind, L2, False)
        kit.add(f"ivfsq_{name}_plain", filled(index, y, ids), y, ids, order="any")
        index = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatL2(d), d, 5, kind, L2, True)
        got_ids, got = decoded(filled(index, y, ids))
        kit.add(f"ivfsq_{name}_residual", index, got, got_ids, order="any", lossy="yes", tolerance=1e-6,
                note="residuals were cut to bytes")
    y = np.tile(STRANGE, (10, 1))
    half = filled(faiss.IndexScalarQuantizer(16, faiss.ScalarQuantizer.QT_bf16), y)
    finite = np.tile(np.array([-0.0, 1e-39, np.inf, -np.inf, 65504.0, 1e-7, 6e-8, -6e-8], np.float32), (10, 2))
    kit.add("sq_bf16_strange", half, half.reconstruct_n(0, 10), lossy="yes")
    half = filled(faiss.IndexScalarQuantizer(16, faiss.ScalarQuantizer.QT_fp16), finite)
    kit.add("sq_fp16_strange", half, half.reconstruct_n(0, 10), lossy="yes", note="denormal halves, infinities")
    index = faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit)
    index.train(x)
    kit.add("sq_empty", index, x[:0], lossy="no", may_refuse=True)
    for d1 in (1, 2, 3, 5, 8):
        y = kit.rows(50, d1)
        for name in ("4bit", "6bit", "8bit"):
            index = filled(faiss.IndexScalarQuantizer(d1, scalar_types()[name]), y)
            kit.add(f"sq_{name}_d{d1}", index, index.reconstruct_n(0, 50), lossy="yes", tolerance=1e-6)
    for stat in range(4):
        index = faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit)
        index.sq.rangestat, index.sq.rangestat_arg = stat, 0.1
        filled(index, x)
        kit.add(f"sq_range_{stat}", index, index.reconstruct_n(0, 200), lossy="yes", tolerance=1e-6)
    for name in dir(faiss.ScalarQuantizer):
        if name.endswith(("tq", "tqmse", "eden")):
            def make(case, name=name):
                index = faiss.IndexScalarQuantizer(16, getattr(faiss.ScalarQuantizer, name))
                kit.refuse(case, filled(index, kit.rows(60, 16)), "")
            kit.attempt(f"refused_sq_{name[3:]}", make)
    kit.unmade.append({"name": "refused_ivfsq_0bit", "why": "faiss 1.15.1 writes its lists empty, or crashes"})


def product(kit):
    for parts, bits, d in ((4, 8, 16), (4, 4, 16), (3, 4, 12), (4, 6, 16), (3, 5, 12), (4, 10, 8), (3, 12, 6), (2, 16, 4), (5, 3, 5), (1, 1, 2)):
        x = kit.rows(300, d)
        index = faiss.IndexPQ(d, parts, bits)
        if bits >= 8:
            # Training would want thousands of rows; any centroids will do.
            faiss.copy_array_to_vector(kit.rows(parts << bits, d // parts).ravel(), index.pq.centroids)
            index.is_trained = True
        filled(index, x)
        kit.add(f"pq_{parts}x{bits}", index, index.reconstruct_n(0, 300), lossy="yes")
    x, ids = kit.rows(500, 16), kit.ids(500)
    index = filled(faiss.IndexPQ(16, 4, 4, IP), x)
    kit.add("pq_ip", index, index.reconstruct_n(0, 500), lossy="yes", metric="IP")
    index = faiss.IndexPQ(16, 4, 4)
    index.do_polysemous_training = True
    filled(index, x)
    kit.add("pq_polysemous", index, index.reconstruct_n(0, 500), lossy="yes")
    for residual in (True, False):
        for bits in (8, 4, 6):
            for metric in ("L2", "IP"):
                index = faiss.IndexIVFPQ(faiss.IndexFlat(16, METRICS[metric]), 16, 6, 4, bits, METRICS[metric])
                index.by_residual = residual
                got_ids, got = decoded(filled(index, x, ids))
                kit.add(f"ivfpq_{bits}_{metric}{'' if residual else '_plain'}", index, got, got_ids, lossy="yes",
                        order="any", metric=metric, tolerance=1e-6)
    for name, spec in {"hnsw": "IVF16_HNSW8,PQ4x4np", "imi": "IMI2x2,PQ4x4np", "sq": "IVF16(SQ8),PQ4x4np", "nested": "IVF16(IVF4,Flat),PQ4x4np",
                       "pqfs": "IVF16(PQ4x4fs),PQ4x4np", "rcq": "RCQ2x2,PQ4x4np", "refine": "IVF16(PQ4x4np,RFlat),PQ4x4np",
                       "imi_sq": "IMI2x2,SQ8", "hnsw_sq": "IVF16_HNSW8,SQ6", "np": "IVF4,PQ4x4np"}.items():
        def make(name, spec=spec):
            index = faiss.index_factory(16, spec)
            got_ids, got = decoded(filled(index, x, ids))
            unreadable = spec.startswith(("IVF16(PQ4x4fs)", "RCQ"))
            kit.add(name, index, got, got_ids, lossy="yes", order="any", tolerance=1e-6, may_refuse=unreadable, note=spec)
        kit.attempt(f"ivfpq_over_{name}", make)
    def refined(name):
        index = faiss.IndexIVFPQR(faiss.IndexFlatL2(16), 16, 6, 4, 4, 4, 4)
        filled(index, x)
        got_ids, got = decoded(index)
        kit.add(name, index, got, got_ids, lossy="yes", order="any", tolerance=1e-6)
    kit.attempt("ivfpqr", refined)
    def imi_centres(name):
        index = faiss.index_factory(16, "IMI2x2,Flat")
        index.train(x)
        kit.add(name, index, x[:0], order="any")
    kit.attempt("imi_empty", imi_centres)
    index = faiss.IndexPQ(16, 4, 4)
    index.train(x)
    kit.add("pq_empty", index, x[:0], may_refuse=True)
    for half in (False, True):
        def minmax(name, half=half):
            inner = faiss.IndexScalarQuantizer(16, faiss.ScalarQuantizer.QT_8bit)
            index = (faiss.IndexRowwiseMinMaxFP16 if half else faiss.IndexRowwiseMinMax)(inner)
            index.train(x)
            try:
                index.add(x)
            except RuntimeError:
                kit.add(name, index, x[:0], may_refuse=True, note="Faiss cannot add rows to it")
                return
            kit.add(name, index, index.reconstruct_n(0, len(x)), lossy="yes", tolerance=1e-6)
        kit.attempt(f"minmax{'_fp16' if half else ''}", minmax)


def panorama(kit):
    for d, levels, batch, n in ((16, 4, 128, 300), (17, 4, 32, 100), (10, 3, 8, 31), (13, 5, 16, 16), (10, 6, 8, 20), (8, 8, 4, 1), (64, 1, 64, 70), (7, 2, 128, 0)):
        x, ids = kit.rows(n, d), kit.ids(n)
        shape = f"{d}_{levels}_{batch}_{n}"
        for name, kind in (("l2", faiss.IndexFlatL2Panorama), ("ip", faiss.IndexFlatIPPanorama)):
            kit.attempt(f"panorama_flat_{name}_{shape}", lambda case, kind=kind, name=name: kit.add(
                case, filled(kind(d, levels, batch), x), x, metric=name.upper()))
        def lists(case):
            index = faiss.IndexIVFFlatPanorama(faiss.IndexFlatL2(d), d, 4, levels, L2, True, batch)
            index.train(kit.rows(200, d))
            index.add_with_ids(x, ids)
            kit.add(case, index, x, ids, order="any")
        kit.attempt(f"panorama_ivf_{shape}", lists)
        kit.attempt(f"panorama_hnsw_{shape}", lambda case: kit.add(case, filled(faiss.IndexHNSWFlatPanorama(d, 8, levels), x), x))
    x, ids = kit.rows(500, 24), kit.ids(500)
    def default(case):
        index = faiss.IndexIVFFlatPanorama(faiss.IndexFlatL2(24), 24, 4, 4)
        kit.add(case, filled(index, x, ids), x, ids, order="any")
    kit.attempt("panorama_ivf_default", default)
    def refine_by(case):
        index = faiss.IndexRefinePanorama(faiss.IndexPQ(24, 4, 4), faiss.IndexFlatL2Panorama(24, 4))
        index.train(x)
        index.add(x)
        kit.add(case, index, x)
    kit.attempt("panorama_refine", refine_by)
    def removed(case):
        index = filled(faiss.IndexFlatL2Panorama(24, 4, 32), x)
        index.remove_ids(np.arange(0, 500, 3))
        kit.add(case, index, x[np.arange(500) % 3 != 0])
    kit.attempt("panorama_flat_removed", removed)
    def removed_ivf(case):
        index = faiss.IndexIVFFlatPanorama(faiss.IndexFlatL2(24), 24, 4, 4)
        filled(index, x, ids)
        index.remove_ids(faiss.IDSelectorArray(ids[::3]))
        kept = np.arange(500) % 3 != 0
        kit.add(case, index, x[kept], ids[kept], order="any")
    kit.attempt("panorama_ivf_removed", removed_ivf)
    kit.attempt("panorama_idmap", lambda case: kit.add(case, filled(faiss.IndexIDMap(faiss.IndexFlatL2Panorama(24, 4)), x, ids), x, ids))
    kit.attempt("panorama_factory", lambda case: kit.add(case, filled(faiss.index_factory(24, "IVF4,FlatPanorama4"), x, ids), x, ids, order="any"))


def binary(kit):
    d = 40
    x, ids = kit.bits(300, d), kit.ids(300)
    def quantizer(kind=None):
        made = kind or faiss.IndexBinaryFlat(d)
        return made
    def lists(nlist=8, centres=None):
        centres = quantizer(centres)
        made = faiss.IndexBinaryIVF(centres, d, nlist)
        made.own_fields = True
        centres.this.disown()
        return made
    kit.add("bin_flat", filled(faiss.IndexBinaryFlat(d), x), x)
    for bits in (8, 16, 136, 1024):
        y = kit.bits(37, bits)
        kit.add(f"bin_flat_d{bits}", filled(faiss.IndexBinaryFlat(bits), y), y)
    kit.add("bin_flat_empty", faiss.IndexBinaryFlat(d), x[:0])
    y = kit.bits(5000, 64)
    kit.add("bin_flat_long", filled(faiss.IndexBinaryFlat(64), y), y)
    kit.add("bin_idmap", filled(faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(d)), x, ids), x, ids)
    kit.add("bin_idmap2", filled(faiss.IndexBinaryIDMap2(faiss.IndexBinaryFlat(d)), x, ids), x, ids)
    kit.add("bin_idmap_ivf", filled(faiss.IndexBinaryIDMap(lists()), x, ids), x, ids, order="any")
    kit.add("bin_idmap_hnsw", filled(faiss.IndexBinaryIDMap2(faiss.IndexBinaryHNSW(d, 8)), x, ids), x, ids)
    kit.add("bin_ivf", filled(lists(), x, ids), x, ids, order="any")
    kit.add("bin_ivf_rows", filled(lists(), x), x, order="any")
    kit.add("bin_ivf_sparse", sparse_binary(lists(64), x, ids), x[:9], ids[:9], order="any")
    kit.attempt("bin_ivf_hnsw", lambda name: kit.add(name, filled(lists(8, faiss.IndexBinaryHNSW(d, 8)), x, ids), x, ids, order="any"))
    index = filled(lists(), x)
    index.set_direct_map_type(faiss.DirectMap.Array)
    kit.add("bin_ivf_map_array", index, x, order="any")
    index = filled(lists(), x, ids)
    index.set_direct_map_type(faiss.DirectMap.Hashtable)
    kit.add("bin_ivf_map_hash", index, x, ids, order="any")
    index = filled(lists(), x, ids)
    index.remove_ids(ids[::2])
    kit.add("bin_ivf_removed", index, x[1::2], ids[1::2], order="any")
    index = lists()
    index.train(x)
    kit.add("bin_ivf_empty", index, x[:0], order="any")
    kit.add("bin_hnsw", filled(faiss.IndexBinaryHNSW(d, 8), x), x)
    def cagra(name):
        index = faiss.IndexBinaryHNSWCagra(d, 8)
        index.base_level_only = False
        kit.add(name, filled(index, x), x)
    kit.attempt("bin_hnsw_cagra", cagra)
    for b in (1, 7, 8, 13, 20):
        kit.attempt(f"bin_hash_{b}", lambda name, b=b: kit.add(name, filled(faiss.IndexBinaryHash(d, b), x, ids), x, ids, order="any"))
    same = np.repeat(x[:10], 30, axis=0)
    kit.attempt("bin_hash_full_buckets", lambda name: kit.add(name, filled(faiss.IndexBinaryHash(d, 9), same, ids), same, ids, order="any"))
    kit.attempt("bin_hash_rows", lambda name: kit.add(name, filled(faiss.IndexBinaryHash(d, 9), x), x, order="any"))
    kit.attempt("bin_hash_empty", lambda name: kit.add(name, faiss.IndexBinaryHash(d, 9), x[:0], order="any"))
    kit.attempt("bin_multi_hash", lambda name: kit.add(name, filled(faiss.IndexBinaryMultiHash(d, 3, 7), x), x))
    kit.attempt("bin_multi_hash_empty", lambda name: kit.add(name, faiss.IndexBinaryMultiHash(d, 3, 7), x[:0]))
    def from_float(inner, **more):
        def make(name):
            index = faiss.IndexBinaryFromFloat(inner)
            kit.add(name, filled(index, x), x, **more)
        return make
    kit.attempt("bin_from_float", from_float(faiss.IndexFlatL2(d)))
    kit.attempt("bin_from_float_hnsw", from_float(faiss.IndexHNSWFlat(d, 8)))
    kit.attempt("bin_from_float_ivf", from_float(ivf_flat(d, 4), order="any"))
    y = kit.bits(4, d)
    y[:] = [[0] * 5, [255] * 5, [1] * 5, [128] * 5]
    kit.add("bin_extremes", filled(faiss.IndexBinaryFlat(d), y), y)
    def skipped(name):
        if not kit.wanted(name):
            return
        index = filled(faiss.IndexBinaryHNSW(d, 8), x)
        whole = kit.bytes_of(index)
        at = whole.index(b"IBxF")
        kit.refuse(name, whole[:at] + b"null", "null")
    kit.attempt("bin_hnsw_null", skipped)


def sparse_binary(index, x, ids):
    index.train(x)
    index.add_with_ids(x[:9], ids[:9])
    return index


def refused(kit):
    d = 16
    x = kit.rows(400, d)
    for name, spec, says in (
        ("lsh", "LSH", "LSH"), ("lsh_rotated", "LSHr", "LSH"), ("lsh_thresholds", "LSHt", "LSH"), ("itq_lsh", "ITQ16,LSH", "LSH"),
        ("rq", "RQ2x4", "additive"), ("lsq", "LSQ2x4", "additive"), ("prq", "PRQ2x2x4", "additive"), ("plsq", "PLSQ2x2x4", "additive"),
        ("ivf_rq", "IVF4,RQ2x4", "additive"), ("ivf_lsq", "IVF4,LSQ2x4", "additive"), ("ivf_prq", "IVF4,PRQ2x2x4", "additive"),
        ("ivf_plsq", "IVF4,PLSQ2x2x4", "additive"), ("rq_fs", "RQ2x4fs_Nrq2x4", "FastScan"), ("lsq_fs", "LSQ2x4fs_Nlsq2x4", "FastScan"),
        ("prq_fs", "PRQ2x2x4fs_Nrq2x4", "FastScan"), ("plsq_fs", "PLSQ2x2x4fs_Nlsq2x4", "FastScan"), ("ivf_rq_fs", "IVF4,RQ2x4fs_Nrq2x4", "FastScan"),
        ("ivf_lsq_fs", "IVF4,LSQ2x4fs_Nlsq2x4", "FastScan"), ("pq_fs", "PQ4x4fs", "FastScan"), ("ivf_pq_fs", "IVF4,PQ4x4fs", "FastScan"),
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
            kit.refuse(case, filled(index, x), says)
        kit.attempt(f"refused_{name}", make)
    def two_level(centres):
        def make(name):
            kit.refuse(name, filled(faiss.Index2Layer(centres, 4, 4, 4), x), "two-level")
        return make
    centres, combinations = faiss.IndexFlatL2(d), imi(x)
    kit.attempt("refused_two_level", two_level(centres))
    kit.attempt("refused_two_level_imi", two_level(combinations))
    kit.attempt("refused_spectral", lambda name: kit.refuse(
        name, filled(faiss.IndexIVFSpectralHash(faiss.IndexFlatL2(d), d, 4, 16, 1.0), x), "spectral"))
    kit.attempt("refused_eden", lambda name: kit.refuse(name, filled(faiss.IndexEDEN(d, L2, 2), x), "EDEN"))
    kit.attempt("refused_ivf_eden", lambda name: kit.refuse(
        name, filled(faiss.IndexIVFEDEN(faiss.IndexFlatL2(d), d, 4, L2, 2), x), "EDEN"))
    for name, spec in (("ivf", "IVF4,Flat"), ("pq", "PQ4x4np"), ("sq", "SQ8"), ("ivfpq", "IVF4,PQ4x4np"), ("pre", "OPQ4,Flat")):
        kit.refuse(f"untrained_{name}", faiss.index_factory(d, spec), "train")
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
            kit.refuse(f"cut_{name}_{what}", cut, [".index"])
        kit.refuse(f"trailing_{name}", raw + b"\0", "")
        kit.refuse(f"doubled_{name}", raw + raw, "")
    kit.refuse("bad_empty_file", b"", "")
    kit.refuse("bad_text", b"This is not the file you are looking for.\n", "")
    kit.refuse("bad_hdf5", b"\x89HDF\r\n\x1a\n" + bytes(200), "")
    kit.refuse("bad_npy", b"\x93NUMPY\x01\x00" + bytes(200), "")
    kit.refuse("bad_zeros", bytes(4096), "")
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


GROUPS = [flat, id_maps, ivf, quantizers, on_disk, transforms, graphs, refine, scalar, product, panorama, binary, refused, damaged]


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
    remember_ids(kit)
    if args.random:
        faiss_random.cases(kit, args.random)
    else:
        for group in GROUPS + [faiss_bytes.old_layouts]:
            kit.group(group)
    sys.exit(0 if kit.finish() else 1)


if __name__ == "__main__":
    main()
