//! Dead letters as documents. What a message said lies in parts beside its letter where it is more than a document may hold.

use std::ops::Range;

use mongodb::bson::{Document, RawDocument, doc};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::codec::{as_document, date, integer};
use super::error::{failed, unreadable};
use super::schema::LETTER_PARTS;
use super::shared::{Shared, durable};
use super::values::{read, unescape, written_object};
use crate::domain::time::Timestamp;
use crate::ports::error::PortError;
use crate::ports::store::DeadLetter;

/// Bytes of one part at most. A document takes 16 MiB.
const PART: usize = 8 << 20;

/// Fields a dead letter may lack.
pub(super) const OPTIONAL: [&str; 7] = ["system", "type", "native_id", "body", "encoding", "parts", "parts_hash"];

/// Writes a dead letter, without its id, its place and its parts.
pub(super) fn fields(letter: &DeadLetter) -> Result<Document, serde_json::Error> {
    let pieces = pieces(letter);
    let small = DeadLetter { body: letter.body.clone().filter(|_| pieces.is_empty()), ..letter.clone() };
    let mut fields: Map<String, Value> = serde_json::from_value(serde_json::to_value(small)?)?;
    fields.remove("id");
    let mut document = as_document(&written_object(&fields))?;
    document.insert("received_at", date(letter.received_at));
    document.insert("received", letter.received_at.as_micros());
    if !pieces.is_empty() {
        document.insert("parts", pieces.len() as i64);
        document.insert("parts_hash", hash(letter));
    }
    Ok(document)
}

/// Puts down what large letters said, before the letters are written: all of it may be more than a transaction can hold. Parts are
/// named by what they are parts of, so those that no letter comes to name, as its transaction failed, are in nobody's way.
pub(super) async fn put_parts(shared: &Shared, operation: &'static str, letters: &[&DeadLetter]) -> Result<(), PortError> {
    let collection = shared.db.collection::<Document>(LETTER_PARTS);
    for part in letters.iter().flat_map(|letter| parts(letter)) {
        let same = doc! {"_id": part.get("_id")};
        collection.replace_one(same, &part).upsert(true).write_concern(durable()).await.map_err(failed(operation))?;
    }
    Ok(())
}

/// The parts of a body, if it has any: each with its id.
fn parts(letter: &DeadLetter) -> Vec<Document> {
    let body = letter.body.as_deref().unwrap_or_default();
    let part = |(id, piece): (String, Range<usize>)| doc! {"_id": id, "text": &body[piece]};
    part_ids(letter).into_iter().zip(pieces(letter)).map(part).collect()
}

/// Their ids.
pub(super) fn part_ids(letter: &DeadLetter) -> Vec<String> {
    let count = pieces(letter).len();
    if count == 0 {
        return Vec::new();
    }
    let hash = hash(letter);
    (0..count).map(|number| part_id(&letter.id, hash, number)).collect()
}

fn part_id(letter: &str, hash: i64, number: usize) -> String {
    format!("{letter}#{hash:016x}#{number}")
}

/// Tells what a letter said from anything else.
fn hash(letter: &DeadLetter) -> i64 {
    xxh3_64(letter.body.as_deref().unwrap_or_default().as_bytes()).cast_signed()
}

/// Where a body is cut; nowhere, if it is small enough.
fn pieces(letter: &DeadLetter) -> Vec<Range<usize>> {
    let body = letter.body.as_deref().unwrap_or_default();
    let mut pieces = Vec::new();
    if body.len() <= PART {
        return pieces;
    }
    let mut from = 0;
    while from < body.len() {
        let to = body.floor_char_boundary((from + PART).min(body.len()));
        pieces.push(from..to);
        from = to;
    }
    pieces
}

/// A dead letter as it is stored, and where its body is, if that is large.
pub(super) struct Stored {
    letter: DeadLetter,
    parts: Vec<String>,
}

impl Stored {
    /// Reads the document.
    pub fn read(operation: &'static str, document: &RawDocument) -> Result<Self, PortError> {
        let read = || -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
            let received_at = Timestamp::from_micros(integer(document, "received")?);
            let count = usize::try_from(integer(document, "parts").unwrap_or(0))?;
            let mut fields = Map::new();
            for field in document {
                let (name, value) = field?;
                match name.as_str() {
                    "place" | "received" | "parts" | "parts_hash" => {}
                    "_id" => drop(fields.insert("id".to_owned(), read(value)?)),
                    "received_at" => drop(fields.insert("received_at".to_owned(), Value::String(received_at.to_string()))),
                    name => drop(fields.insert(unescape(name).into_owned(), read(value)?)),
                }
            }
            let letter: DeadLetter = serde_json::from_value(Value::Object(fields))?;
            let hash = integer(document, "parts_hash").unwrap_or(0);
            let parts = (0..count).map(|number| part_id(&letter.id, hash, number)).collect();
            Ok(Self { letter, parts })
        };
        read().map_err(|error| unreadable(operation, "dead letter", error))
    }

    /// How much it says, or somewhat more than that.
    pub fn bytes(&self) -> usize {
        self.letter.bytes() + self.parts.len() * PART
    }

    /// The letter with its whole body.
    pub async fn whole(self, shared: &Shared, operation: &'static str) -> Result<DeadLetter, PortError> {
        let Self { mut letter, parts } = self;
        for id in parts {
            let found = shared.find(operation, LETTER_PARTS, doc! {"_id": &id}).limit(1).all().await?;
            let text = found.first().and_then(|part| part.get_str("text").ok());
            let text = text.ok_or_else(|| unreadable(operation, "dead letter", format!("its part {id} is not there")))?;
            letter.body.get_or_insert_default().push_str(text);
        }
        Ok(letter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::change::DeadReason;

    fn letter(body: String) -> DeadLetter {
        DeadLetter {
            id: "bms:u1".to_owned(),
            reason: DeadReason::TooLarge,
            detail: String::new(),
            received_at: Timestamp::from_micros(1),
            system: None,
            entity_type: None,
            native_id: None,
            body: Some(body),
            encoding: None,
            marks: None,
        }
    }

    #[test]
    fn a_large_body_is_cut_between_letters_and_nothing_of_it_is_lost() {
        // Three bytes each: no cut falls on a boundary by itself.
        let large = letter("€".repeat(PART));
        let parts = parts(&large);
        let texts: Vec<&str> = parts.iter().map(|part| part.get_str("text").unwrap()).collect();
        assert_eq!((parts.len(), texts.concat() == large.body.clone().unwrap()), (4, true));
        assert!(texts.iter().all(|text| text.len() <= PART));
        assert_eq!(part_ids(&large), parts.iter().map(|part| part.get_str("_id").unwrap().to_owned()).collect::<Vec<_>>());
        assert!(part_ids(&letter("$".repeat(3 * PART))).iter().all(|id| !part_ids(&large).contains(id)), "another one has others");
        assert!(!fields(&large).unwrap().contains_key("body"));
    }

    #[test]
    fn a_small_body_stays_where_it_is() {
        let small = letter("x".repeat(PART));
        assert!(parts(&small).is_empty());
        assert!(fields(&small).unwrap().contains_key("body"));
    }
}
