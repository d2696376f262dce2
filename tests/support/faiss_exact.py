"""Kinds that hold the rows themselves."""

import faiss
import numpy as np
from faiss.contrib.ondisk import merge_ondisk

import faiss_codes
from faiss_kit import L2, METRICS, STRANGE, decoded, filled, ivf_flat
from faiss_refused import footer


def flat(kit):
    for name, metric in METRICS.items():
        x = np.abs(kit.rows(40, 12)) if name in ("JensenShannon", "Jaccard") else kit.rows(40, 12)
        index = faiss.IndexFlat(12, metric)
        index.metric_arg = 1.5
        kit.add(f"flat_metric_{name}", filled(index, x), x, metric=name)
    for d in (1, 2, 3, 7, 13, 33, 100, 1031):
        x = kit.rows(23, d)
        kit.add(f"flat_d{d}", filled(faiss.IndexFlatL2(d), x), x)
    x = kit.rows(4, 70_000)
    kit.add("flat_wide", filled(faiss.IndexFlatL2(70_000), x), x, note="a row is longer than the smallest batch")
    ids = kit.ids(4)
    kit.add("ivf_wide", filled(ivf_flat(70_000, 2), x, ids), x, ids, order="any")
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
    x = kit.rows(200, 16)
    for name, spec in (("pca", "PCA8,Flat"), ("norm", "L2norm,Flat"), ("ivf", "PCA16,IVF4,Flat"), ("sq", "PCA8,SQ8"), ("map", "IDMap,PCA8,Flat")):
        empty = faiss.index_factory(16, spec)
        empty.train(x)
        a, b = (faiss.deserialize_index(faiss.serialize_index(empty)) for _ in range(2))
        add = (lambda index: index.add_with_ids(x, np.arange(200))) if name == "map" else (lambda index: index.add(x))
        add(a)
        add(b)
        b.merge_from(a)
        kit.add(f"merged_out_{name}", a, x[:0], warns=["counts 200 rows and holds 0", "merge_from"],
                note="Faiss tells the index inside that its rows are gone, not the transform around it")


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
            order="any", lossy="yes", says="`IwSq` inside `IxM2`")
    lucene = filled(faiss.IndexIDMap(faiss.index_factory(10, "HNSW16,Flat")), x, ids)
    raw = kit.bytes_of(lucene)
    kit.add("idmap_lucene", raw + footer(raw), x, ids, warns=["Lucene's numbers of documents"], synthetic=False)
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
    labels, rows = faiss_codes.lists(inner)
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
        y, some = kit.rows(90, d), kit.ids(90)
        kit.add(f"ivf_d{d}", filled(ivf_flat(d, 4), y, some), y, some, order="any")
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
    index = ivf_flat(16, 4096)
    faiss.downcast_index(index.quantizer).add(kit.rows(4096, 16))
    index.is_trained = True
    index.add_with_ids(x, ids)
    kit.add("ivf_lists_many", index, x, ids, order="any", note="lists of one row or none")
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
    long, some = kit.rows(4000, 24), kit.ids(4000)
    kit.add("ivf_long", filled(ivf_flat(24, 40), long, some), long, some, order="any")
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
    index = filled(faiss.IndexIVFFlatDedup(faiss.IndexFlatL2(16), 16, 8, L2), y, ids)
    index.remove_ids(faiss.IDSelectorArray(ids[150:250]))
    kept = np.r_[0:150, 250:300]
    kit.add("ivf_dedup_others_removed", index, y[kept], ids[kept], order="any", warns=["duplicates that were removed"])


def quantizers(kit):
    """Inverted files whose centres are kept by every kind of index: all have to be passed over."""
    x, ids = kit.rows(400, 16), kit.ids(400)
    for name, spec in {
        "hnsw": "IVF16_HNSW8,Flat", "imi": "IMI2x2,Flat", "pqfs": "IVF16(PQ4x4fs),Flat",
        "sq8": "IVF16(SQ8),Flat", "pq": "IVF16(PQ4x4np),Flat", "ivf": "IVF16(IVF4,Flat),Flat",
        "refine": "IVF16(PQ4x4np,RFlat),Flat", "nsg": "IVF128_NSG8,Flat", "rotated": "IVF16(RR8,Flat),Flat",
        "lsh": "IVF16(LSH),Flat", "rabitq": "IVF16(RaBitQ),Flat", "rq": "IVF16(RQ2x4),Flat", "ivfpq": "IVF16(IVF4,PQ4x4np),Flat",
        "ivfpqfs": "IVF16(IVF4,PQ4x4fs),Flat", "ivfsq": "IVF16(IVF4,SQ6),Flat", "hnswsq": "IVF16(HNSW8,SQ8),Flat",
        "lsq": "IVF16(LSQ2x4),Flat", "prq": "IVF16(PRQ2x2x4),Flat", "rqfs": "IVF16(RQ2x4fs_Nrq2x4),Flat",
        "idmap": "IVF16(Flat),Flat", "opq": "IVF16(RR8,SQ8),Flat",
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
    residual = faiss.ResidualCoarseQuantizer(16, 2, 2)
    residual.train(x)
    kit.add("quantizer_rcq", filled(faiss.IndexIVFFlat(residual, 16, 16), x, ids), x, ids, order="any")
    index = filled(faiss.IndexIVFPQ(residual, 16, 16, 4, 4), x, ids)
    got_ids, got = decoded(index)
    kit.add("ivfpq_over_rcq", index, got, got_ids, order="any", lossy="yes", tolerance=1e-6, may_refuse=True)
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
        got_ids, got = faiss_codes.lists(inner)
        kit.add(name, index, got, got_ids, order="any", lossy="yes")
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
        empty, shards = ivf_flat(12, 9), []
        empty.train(x)
        raw = faiss.serialize_index(empty)
        for i in range(3):
            shard = faiss.deserialize_index(raw)
            shard.add_with_ids(x[i::3], ids[i::3])
            shards.append(str(kit.out / f"{name}.{i}.shard"))
            faiss.write_index(shard, shards[-1])
        merge_ondisk(empty, shards, str(kit.out / f"{name}.ivfdata"))
        kit.add(name, empty, x, ids, order="any", note="as faiss.contrib.ondisk merges shards")
    kit.attempt("ondisk_merged", merged)
    def pq(name):
        made = faiss.index_factory(12, "IVF9,PQ4x4np")
        made.train(x)
        lists = faiss.OnDiskInvertedLists(9, made.code_size, str(kit.out / f"{name}.ivfdata"))
        made.replace_invlists(lists, True)
        lists.this.disown()
        made.add_with_ids(x, ids)
        got_ids, got = faiss_codes.lists(made)
        kit.add(name, made, got, got_ids, order="any", lossy="yes")
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
    def mapped(name, spec="IVF9,Flat"):
        if not kit.wanted(name):
            return
        source = kit.out / f"{name}.original"
        made = filled(faiss.index_factory(12, spec), x, ids)
        got_ids, got = (ids, x) if spec.endswith("Flat") else faiss_codes.lists(made)
        faiss.write_index(made, str(source))
        again = faiss.read_index(str(source), faiss.IO_FLAG_MMAP)
        lossy = "no" if got is x else "yes"
        kit.add(name, again, got, got_ids, order="any", lossy=lossy, source={"lists": str(source)}, note="saved after a mapped read")
        kit.refuse(f"{name}_alone", again, ["IO_FLAG_MMAP", "lists:"], exit=[2])
    kit.attempt("ondisk_mapped", mapped)
    kit.attempt("ondisk_mapped_sq", lambda name: mapped(name, "IVF9,SQ8"))


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
