//! Counts what is still to be done.

use rusqlite::Connection;

use super::codec::unsigned;
use super::error::{failed, unreadable};
use super::lookup::in_one_view;
use crate::domain::ids::{EntityType, SystemName};
use crate::ports::error::PortError;
use crate::ports::tally::{OwedTally, Tally};

const COUNT: &str = "count what is to be done";
const OWED: &str = "SELECT o.system, n.name, sum(o.attempts = 0 AND o.published < o.rev), sum(o.attempts = 0 AND o.published >= o.rev),
        sum(o.attempts > 0)
    FROM outbox o JOIN records r ON r.id = o.record AND r.type IS NOT NULL JOIN names n ON n.id = r.type GROUP BY o.system, n.name";
const WAITING: &str = "SELECT json_extract(body, '$.waiting_for.kind') AS kind, count(*) FROM waiting GROUP BY kind";
const DEAD: &str = "SELECT json_extract(body, '$.reason') AS reason, count(*) FROM dead GROUP BY reason";

pub(super) fn count(conn: &Connection) -> Result<Tally, PortError> {
    in_one_view(conn, COUNT, |conn| {
        let error = failed(COUNT);
        let mut tally = Tally::default();
        let mut statement = conn.prepare_cached(OWED).map_err(error)?;
        let mut rows = statement.query(()).map_err(error)?;
        while let Some(row) = rows.next().map_err(error)? {
            let name = |column| row.get::<_, String>(column).map_err(error);
            let system = SystemName::new(name(0)?).map_err(|error| unreadable(COUNT, "system name", error))?;
            let entity_type = EntityType::new(name(1)?).map_err(|error| unreadable(COUNT, "type", error))?;
            let number = |column| row.get(column).map(unsigned).map_err(error);
            tally.owed.insert((system, entity_type), OwedTally { pending: number(2)?, unanswered: number(3)?, failing: number(4)? });
        }
        for (query, counts) in [(WAITING, &mut tally.waiting), (DEAD, &mut tally.dead_letters)] {
            let mut statement = conn.prepare_cached(query).map_err(error)?;
            let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1).map(unsigned)?))).map_err(error)?;
            counts.extend(rows.collect::<Result<Vec<(String, u64)>, _>>().map_err(error)?);
        }
        Ok(tally)
    })
}
