//! What handlers take from a request, with errors in the shape of the API.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Request};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};
use serde_json::{Map, Value};

use super::error::ApiError;
use super::strict::Strict;

/// A JSON body: an object, and nothing else.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Json(Strict(body)) = Json::<Strict>::from_request(request, state).await?;
        if !body.is_object() {
            return Err(ApiError::invalid("the body is not an object"));
        }
        let read = T::deserialize(body);
        read.map(Self)
            .map_err(|error| ApiError::invalid(error.to_string()))
    }
}

/// Reads a part that is an object.
///
/// SUBTLE: left to itself, serde also takes the fields of a structure as a list without names.
pub(super) fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<T, D::Error> {
    let members = Map::deserialize(deserializer)?;
    T::deserialize(Value::Object(members)).map_err(D::Error::custom)
}

/// The parts of a path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub struct Path<T>(pub T);

/// The query.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub struct Query<T>(pub T);
