//! The query part of a URL, read strictly.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Query as AxumQuery};
use axum::http::request::Parts;

use super::problem::Problem;

/// The parameters by name.
#[derive(Clone, Debug, Default)]
pub struct Query(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let pairs = AxumQuery::<Vec<(String, String)>>::from_request_parts(parts, state).await.map_err(Problem::question)?;
        let mut query = BTreeMap::new();
        for (name, value) in pairs.0 {
            if query.insert(name.clone(), value).is_some() {
                return Err(Problem::question(format!("{name} is there twice; say it once")).at(name));
            }
        }
        Ok(Self(query))
    }
}

impl Query {
    /// Takes a parameter out.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes a parameter that must be there.
    pub fn required(&mut self, name: &str) -> Result<String, Problem> {
        self.take(name).ok_or_else(|| Problem::question(format!("{name} is missing")).at(name))
    }

    /// Takes the number of items of a page: 1 to 1000, usually 100.
    pub fn limit(&mut self) -> Result<usize, Problem> {
        Ok(self.limit_if_any()?.unwrap_or(100))
    }

    /// How many at most, if it says so.
    pub fn limit_if_any(&mut self) -> Result<Option<usize>, Problem> {
        let Some(text) = self.take("limit") else { return Ok(None) };
        let read = text.parse().ok().filter(|limit| (1..=1000).contains(limit));
        let read = read.ok_or_else(|| Problem::question(format!("limit is {text:?}; write a number from 1 to 1000")).at("limit"))?;
        Ok(Some(read))
    }

    /// What was not taken.
    pub fn rest(self) -> BTreeMap<String, String> {
        self.0
    }

    /// Nothing may be left.
    pub fn finish(self, known: &str) -> Result<(), Problem> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Problem::question(format!("there is no parameter {name}; there are {known}")).at(name.clone())),
        }
    }
}
