"""Kinds that hold the rows roughly."""

import faiss
import numpy as np

import faiss_codes
from faiss_kit import IP, L2, METRICS, STRANGE, decoded, filled


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
            kit.add(f"sq_{name}_{metric}", index, faiss_codes.rows(index), lossy="yes", metric=metric)
        for residual in (True, False):
            for metric in ("L2", "IP"):
                index = faiss.IndexIVFScalarQuantizer(faiss.IndexFlat(d, METRICS[metric]), d, 5, kind, METRICS[metric], residual)
                got_ids, got = faiss_codes.lists(filled(index, x, ids))
                kit.add(f"ivfsq_{name}_{metric}{'' if residual else '_plain'}", index, got, got_ids, lossy="yes",
                        order="any", metric=metric)
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
        got_ids, got = faiss_codes.lists(filled(index, y, ids))
        kit.add(f"ivfsq_{name}_residual", index, got, got_ids, order="any", lossy="yes",
                note="residuals were cut to bytes")
    every = np.arange(1 << 16, dtype="<u2").view(np.uint8).reshape(-1, 32)
    for name in ("fp16", "bf16"):
        index = filled(faiss.IndexScalarQuantizer(16, scalar_types()[name]), np.tile(STRANGE, (len(every), 1)))
        faiss.copy_array_to_vector(every.ravel(), index.codes)
        kit.add(f"sq_{name}_strange", index, faiss_codes.rows(index), lossy="yes",
                note="every code: denormals, infinities, NaNs of both kinds")
    index = faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit)
    index.train(x)
    kit.add("sq_empty", index, x[:0], lossy="no", may_refuse=True)
    for d1 in (1, 2, 3, 5, 8):
        y = kit.rows(50, d1)
        for name in ("4bit", "6bit", "8bit"):
            index = filled(faiss.IndexScalarQuantizer(d1, scalar_types()[name]), y)
            kit.add(f"sq_{name}_d{d1}", index, faiss_codes.rows(index), lossy="yes")
    for stat in range(4):
        index = faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit)
        index.sq.rangestat, index.sq.rangestat_arg = stat, 0.1
        filled(index, x)
        kit.add(f"sq_range_{stat}", index, faiss_codes.rows(index), lossy="yes")
    for name in dir(faiss.ScalarQuantizer):
        if name.endswith(("tq", "tqmse", "eden")):
            def make(case, name=name):
                index = faiss.IndexScalarQuantizer(16, getattr(faiss.ScalarQuantizer, name))
                kit.refuse(case, filled(index, kit.rows(60, 16)), "")
            kit.attempt(f"refused_sq_{name[3:]}", make)
    kit.unmade.append({"name": "refused_ivfsq_0bit", "why": "Faiss writes its lists empty, or crashes; see ivfsq_0bit"})


def fast_scan(kit):
    """4-bit codes in blocks: what Faiss gives back of them is copied or added once, so it is the same everywhere.

    From blocks of more than 32 rows its reconstruct() takes other rows' codes; what its quantizer makes of the rows
    themselves is right there.
    """
    def coded(pq, x):
        return pq.decode(pq.compute_codes(x)) if len(x) else x
    for n, parts, d, block in ((0, 4, 16, 32), (1, 4, 16, 32), (31, 3, 12, 32), (32, 5, 10, 32), (33, 1, 4, 32), (500, 4, 16, 32),
                               (257, 7, 14, 64), (300, 2, 6, 96), (130, 32, 64, 32)):
        for metric in ("L2", "IP"):
            def flat(name):
                index = faiss.IndexPQFastScan(d, parts, 4, METRICS[metric], block)
                index.train(kit.rows(200, d))
                x = kit.rows(n, d)
                if n:  # Faiss dies of adding nothing.
                    index.add(x)
                want = coded(index.pq, x)
                assert n == 0 or block > 32 or np.array_equal(want, index.reconstruct_n(0, n)), name
                kit.add(name, index, want, metric=metric, lossy="yes" if n else "no")
            kit.attempt(f"pq_fs_{n}_{parts}_{block}_{metric}", flat)
            for residual in (True, False):
                def lists(name):
                    index = faiss.IndexIVFPQFastScan(faiss.IndexFlat(d, METRICS[metric]), d, 5, parts, 4, METRICS[metric], block)
                    index.by_residual = residual
                    index.train(kit.rows(200, d))
                    x, ids = kit.rows(n, d), kit.ids(n)
                    if n:
                        index.add_with_ids(x, ids)
                    centres = index.quantizer.reconstruct_n(0, 5)[index.quantizer.assign(x)] if n and residual else np.zeros_like(x)
                    want = coded(index.pq, x - centres) + centres
                    got_ids, got = decoded(index)
                    a, b = np.argsort(got_ids), np.argsort(ids)
                    assert block > 32 or np.array_equal(got[a], want[b]), name
                    kit.add(name, index, want, ids, order="any", metric=metric, lossy="yes" if n else "no")
                kit.attempt(f"ivf_pq_fs_{n}_{parts}_{block}_{metric}{'' if residual else '_plain'}", lists)
    x, ids = kit.rows(300, 16), kit.ids(300)
    index = filled(faiss.index_factory(16, "IDMap2,PQ4x4fs"), x, ids)
    kit.add("idmap_pq_fs", index, index.index.reconstruct_n(0, 300), ids, lossy="yes", says="`IPfs` inside `IxM2`")
    index = filled(faiss.index_factory(16, "OPQ4,IVF4,PQ4x4fs"), x, ids)
    got_ids, got = decoded(index.index)
    kit.add("opq_ivf_pq_fs", index, faiss_codes.undone(index, got), got_ids, order="any", lossy="yes", tolerance=1e-5)
    index = filled(faiss.index_factory(16, "PQ4x4fs"), x)
    index.remove_ids(np.arange(0, 300, 7))
    kit.add("pq_fs_removed", index, index.reconstruct_n(0, index.ntotal), lossy="yes")
    index = filled(faiss.index_factory(16, "IVF4,PQ4x4fs"), x, ids)
    index.remove_ids(faiss.IDSelectorArray(ids[:100]))
    got_ids, got = decoded(index)
    kit.add("ivf_pq_fs_removed", index, got, got_ids, order="any", lossy="yes")
    for spec in ("PQ4x4fs", "IVF4,PQ4x4fs"):
        whole = kit.bytes_of(filled(faiss.index_factory(16, spec), x))
        name = spec.replace(",", "_").lower()
        kit.refuse(f"cut_{name}", whole[:-1], "cut short")
        block = whole.index((32).to_bytes(4, "little"))
        kit.refuse(f"bad_block_{name}", whole.replace(whole[block:block + 4], (33).to_bytes(4, "little"), 1), "33")


def product(kit):
    for parts, bits, d in ((4, 8, 16), (4, 4, 16), (3, 4, 12), (4, 6, 16), (3, 5, 12), (4, 10, 8), (3, 12, 6), (2, 16, 4), (5, 3, 5), (1, 1, 2)):
        x = kit.rows(300, d)
        index = faiss.IndexPQ(d, parts, bits)
        if bits >= 8:
            # Training would want thousands of rows; any centroids will do.
            faiss.copy_array_to_vector(kit.rows(parts << bits, d // parts).ravel(), index.pq.centroids)
            index.is_trained = True
        filled(index, x)
        kit.add(f"pq_{parts}x{bits}", index, faiss_codes.rows(index), lossy="yes")
    x, ids = kit.rows(500, 16), kit.ids(500)
    index = filled(faiss.IndexPQ(16, 4, 4, IP), x)
    kit.add("pq_ip", index, faiss_codes.rows(index), lossy="yes", metric="IP")
    index = faiss.IndexPQ(16, 4, 4)
    index.do_polysemous_training = True
    filled(index, x)
    kit.add("pq_polysemous", index, faiss_codes.rows(index), lossy="yes")
    for residual in (True, False):
        for bits in (8, 4, 6):
            for metric in ("L2", "IP"):
                index = faiss.IndexIVFPQ(faiss.IndexFlat(16, METRICS[metric]), 16, 6, 4, bits, METRICS[metric])
                index.by_residual = residual
                got_ids, got = faiss_codes.lists(filled(index, x, ids))
                kit.add(f"ivfpq_{bits}_{metric}{'' if residual else '_plain'}", index, got, got_ids, lossy="yes",
                        order="any", metric=metric)
    for name, spec in {"hnsw": "IVF16_HNSW8,PQ4x4np", "imi": "IMI2x2,PQ4x4np", "sq": "IVF16(SQ8),PQ4x4np", "pre": "IVF16(RR16,Flat),PQ4x4np",
                       "pqfs": "IVF16(PQ4x4fs),PQ4x4np", "refine": "IVF16(PQ4x4np,RFlat),PQ4x4np",
                       "imi_sq": "IMI2x2,SQ8", "hnsw_sq": "IVF16_HNSW8,SQ6", "np": "IVF4,PQ4x4np"}.items():
        def make(name, spec=spec):
            index = faiss.index_factory(16, spec)
            got_ids, got = faiss_codes.lists(filled(index, x, ids))
            unreadable = spec.startswith(("IVF16(PQ4x4fs)", "IVF16(RR16"))
            kit.add(name, index, got, got_ids, lossy="yes", order="any", may_refuse=unreadable, note=spec,
                    tolerance=1e-5 if name.endswith("_pre") else 0.0)
        kit.attempt(f"ivfpq_over_{name}", make)
    fast_scan(kit)
    def refined(name):
        index = faiss.IndexIVFPQR(faiss.IndexFlatL2(16), 16, 6, 4, 4, 4, 4)
        filled(index, x)
        got_ids, got = faiss_codes.lists(index)
        kit.add(name, index, got, got_ids, lossy="yes", order="any")
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
