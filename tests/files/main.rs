//! Files of vectors in and out: Faiss, HDF5, Parquet, numpy, and the directories of LangChain and others.

mod convert;
mod faiss_golden;
mod faiss_kinds;
mod faiss_oracle;
mod faiss_several;
mod hdf5;
mod hdf5_files;
mod hdf5_milvus;
mod langchain;
mod parquet;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod vector_files;
