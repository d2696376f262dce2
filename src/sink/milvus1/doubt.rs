//! How much of a batch that was sent before has arrived? 1.x has no upsert, and inserting twice duplicates rows: the
//! ids are looked up, rows that arrived are deleted, and the batch is sent again.
//! If nothing distinguishes this batch's rows from others, it reports that and changes nothing.
//!
//! The order matters. Flush first: look-ups see flushed rows only, and Insert, Delete and Flush wait in one queue
//! of the server (BaseRequest.cpp, group ddl_dml), so that an insert whose answer was lost, even one that had not
//! begun, takes effect before the flush returns. If none of the ids exist, it never arrived. If any exist, all rows
//! with ids of the batch are deleted, in the batch's partition if the server can tell, and the deletion is flushed and
//! checked before the rows are sent again. The log keeps a request's rows together below 128 MiB, but nothing here
//! relies on all of a batch arriving or none.

use crate::batch::Keys;
use crate::error::{Error, Kind, Result};
use crate::job::OnDoubt;
use crate::sink::{Parcel, Receipt};

use super::{Milvus1, Ready};

impl Milvus1 {
    pub(super) fn deliver_again(&self, ready: &Ready, parcel: &Parcel) -> Result<Receipt> {
        let collection = &ready.target.name.collection;
        let tag = self.scope(ready);
        let parts = parcel.batch.parts.iter();
        let ids: Vec<i64> = parts.flat_map(|part| part.ids().iter().copied()).collect();
        self.server.flush(collection)?;
        let present = self.server.present(collection, tag, &ids)?;
        if present == 0 {
            return self.insert(ready, parcel);
        }
        if let Some(why) = self.cannot_take_back(ready)? {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "this batch was sent but not answered, and {present} of its {} ids are in {}; {why}",
                    ids.len(),
                    ready.target.name
                ),
            )
            .hint(
                "check whether its rows are there, then choose: `run: {on_doubt: upsert}` deletes rows with these \
                 ids, no matter where they came from, and sends it again; `on_doubt: resend` sends it again and may duplicate its \
                 rows; `mode: overwrite` with --again loads everything again",
            ));
        }
        self.server.delete(collection, tag, &ids)?;
        self.server.flush(collection)?;
        let left = self.server.present(collection, tag, &ids)?;
        if left > 0 {
            return Err(Error::new(
                Kind::Busy,
                format!("{left} rows were deleted to be sent again, but still exist"),
            ));
        }
        let receipt = self.insert(ready, parcel)?;
        Ok(Receipt {
            upserted: true,
            ..receipt
        })
    }

    /// The partition that look-ups and deletions are limited to; empty: they reach the whole collection.
    fn scope<'r>(&self, ready: &'r Ready) -> &'r str {
        match self.server.looks_into_partitions() {
            true => &ready.target.name.partition,
            false => "",
        }
    }

    /// Why rows with the ids of a batch may not be the batch's own, if so.
    fn cannot_take_back(&self, ready: &Ready) -> Result<Option<String>> {
        if self.on_doubt == OnDoubt::Upsert {
            return Ok(None);
        }
        let name = &ready.target.name;
        let why = |why: &str| Ok(Some(why.to_owned()));
        if !ready.decision.ours {
            return why("the target held rows before, and these may be among them");
        }
        if ready.target.keys != Keys::RowNumbers {
            return why(
                "ids of the source may repeat in Milvus 1.x, so these may be rows of other batches",
            );
        }
        if !self.scope(ready).is_empty() {
            return Ok(None);
        }
        let all = self.ready.read().expect("no one panics with it locked");
        let sharing = all
            .values()
            .filter(|r| r.target.name.collection == name.collection);
        if sharing.count() > 1 || self.server.rows(&name.collection)?.outside(&name.partition) > 0 {
            return why("the collection has rows in other partitions, and these may be among them");
        }
        Ok(None)
    }
}
