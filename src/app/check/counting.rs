//! Under which name a replica's functions count: another's is how increments are lost.

use crate::model::escape;
use crate::store::{Deployment, StoreError};

use super::{Gravity, Note};

/// What there is to say of the functions of a replica; nothing where it has none, as with Dynomite.
pub(super) async fn counting(server: &dyn Deployment) -> Vec<Note> {
    let own = &server.name().0;
    let names = match server.counting_names().await {
        Ok(names) => names,
        Err(error) => return vec![unknown(&error)],
    };
    let note = |name: &String| {
        match name == own {
        true => Note {
            gravity: Gravity::Fine,
            text: format!("its functions count as {own}"),
            advice: None,
        },
        false => Note {
            gravity: Gravity::Warning,
            text: format!(
                "its functions count under the name {}, not {own}, as where it was seeded from that one or renamed",
                escape(name.as_bytes())
            ),
            advice: Some(
                "`reknit functions install --replace` gives it its own; what two replicas count under one name is \
                 taken for the same"
                    .into(),
            ),
        },
    }
    };
    names.iter().map(note).collect()
}

fn unknown(error: &StoreError) -> Note {
    Note {
        gravity: Gravity::Warning,
        text: format!(
            "under which name its functions count is not known: {}",
            super::of_error(error)
        ),
        advice: Some("where it has any, give the user +function|list".into()),
    }
}
