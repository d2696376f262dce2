"""Kinds that lie around others: transforms, graphs, refinements."""

import faiss
import numpy as np

import faiss_codes
from faiss_kit import IP, L2, METRICS, STRANGE, filled, ivf_flat


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
    def stored(index):
        return faiss_codes.rows(index.index)

    add("pre_rotation", [rotation(d, d)])
    add("pre_rotation_up", [rotation(d, 24)], note="columns are orthonormal: the transpose is the inverse")
    add("pre_rotation_down", [rotation(d, 8)], vectors=faiss_codes.undone, lossy="yes")
    add("pre_opq", [faiss.OPQMatrix(d, 4)])
    add("pre_opq_down", [faiss.OPQMatrix(d, 4, 8)], vectors=faiss_codes.undone, lossy="yes")
    add("pre_pca_same", [faiss.PCAMatrix(d, d)])
    add("pre_pca_rotated", [faiss.PCAMatrix(d, d, 0, True)])
    add("pre_pca_down", [faiss.PCAMatrix(d, 6)], vectors=faiss_codes.undone, lossy="yes")
    add("pre_pca_white", [faiss.PCAMatrix(d, d, -0.5)], may_refuse=True, tolerance=1e-4,
        note="not orthonormal, though it could be inverted")
    add("pre_centring", [faiss.CenteringTransform(d)], tolerance=1e-6)
    add("pre_l2norm", [faiss.NormalizationTransform(d, 2.0)], vectors=stored, tolerance=0.0,
        note="lengths are gone; unit rows are carried")
    index = faiss.IndexPreTransform(faiss.NormalizationTransform(d, 2.0), faiss.IndexFlatIP(d))
    filled(index, x)
    kit.add("pre_l2norm_ip", index, stored(index), metric=["IP", "COSINE"])
    add("pre_remap_up", [faiss.RemapDimensionsTransform(d, 24, True)], tolerance=0.0)
    add("pre_remap_down", [faiss.RemapDimensionsTransform(d, 10, False)], vectors=faiss_codes.undone, lossy="yes")
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
    got_ids, got = faiss_codes.lists(inner)
    kit.add("pre_opq_ivfpq", index, faiss_codes.undone(index, got), got_ids, order="any", lossy="yes", tolerance=1e-5)
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
        kit.add(name, index, faiss_codes.rows(index), lossy="yes")
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
            kit.add(name, index, faiss_codes.rows(index.storage), lossy="yes")
        kit.attempt(name, make)
    def hnsw_pq(name):
        index = faiss.IndexHNSWPQ(d, 7, 8, 4)
        filled(index, many)
        kit.add(name, index, faiss_codes.rows(index.storage), lossy="yes")
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
            kit.add(name, index, faiss_codes.rows(index.refine_index), lossy="yes")
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
