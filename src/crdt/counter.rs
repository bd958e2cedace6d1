//! Counters: the sum of what was agreed and of what each replica's clients added since.
//!
//! ```text
//! total = G + Σ (Xi - Wi)        absent is zero, two deletes are one
//! ```
//!
//! # Convergence
//! A PN-counter whose increments are read off as differences to a base, so two equal increments are two. Commutative
//! and associative as addition is; not idempotent in its inputs: the base must follow what was written. A sibling
//! without a base adds nothing. Without any agreement the greatest wins, which is idempotent.
//! A total never waits for an absent replica: the memory holds the agreed number.

use super::contest::{Account, AgreedValue, Contest, Voice};
use crate::model::{Amount, Score};

/// A number in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// Nothing was there, which counts as zero.
    Nothing,
    /// This number.
    Of(Amount),
    /// Something was there that is not a number.
    NotANumber,
}

/// Why there is no total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoTotal {
    /// A value, a base or the agreed version is not a canonical number.
    NotANumber,
    /// The sum is beyond what Redis can hold.
    Overflow,
}

impl Quantity {
    /// The number that a memory holds, if it holds one.
    pub(super) fn remembered(amount: Option<Amount>) -> Self {
        amount.map_or(Self::NotANumber, Self::Of)
    }
}

/// The integer that `INCR` would take these bytes for: canonical, so without leading zeros, `+` or `-0`.
pub fn integer(bytes: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == bytes).then_some(number)
}

/// The total of a counter that the contest left present.
///
/// # Errors
/// [`NoTotal`] where it is not a counter on every side, or overflows: then it is a register.
pub(super) fn total<V: Ord>(
    voices: &[Voice<'_, V>],
    contest: &Contest<'_, V>,
    agreed: &AgreedValue<V>,
    agreed_quantity: Quantity,
    amount_of: impl Fn(&V) -> Option<Amount>,
) -> Result<Amount, NoTotal> {
    let number = |value: &V| amount_of(value).ok_or(NoTotal::NotANumber);
    voices
        .iter()
        .filter_map(|voice| voice.value.as_ref())
        .try_for_each(|v| number(v).map(drop))?;
    if *agreed == AgreedValue::Unknown && !voices.iter().any(Voice::changed) {
        return greatest(contest, number);
    }
    let mut terms = vec![(Some(agreed_quantity), Quantity::Nothing)];
    for voice in voices
        .iter()
        .filter(|voice| voice.account != Account::Unknown)
    {
        if let Some(value) = &voice.value {
            terms.push((Some(Quantity::Of(number(value)?)), voice.base));
        }
    }
    terms.extend(one_delete(voices).map(|base| (None, base)));
    sum(&terms)
}

/// Of several deletes the one that had seen most counts: two deletes are one.
fn one_delete<V>(voices: &[Voice<'_, V>]) -> Option<Quantity> {
    voices
        .iter()
        .filter(|voice| voice.changed() && voice.value.is_none())
        .max_by_key(|voice| match voice.base {
            Quantity::Of(amount) => (voice.had_seen(), Some(amount)),
            Quantity::Nothing | Quantity::NotANumber => (voice.had_seen(), None),
        })
        .map(|voice| voice.base)
}

fn greatest<V>(
    contest: &Contest<'_, V>,
    number: impl Fn(&V) -> Result<Amount, NoTotal>,
) -> Result<Amount, NoTotal> {
    let Contest::Among(candidates) = contest else {
        return Err(NoTotal::NotANumber);
    };
    let numbers: Result<Vec<Amount>, NoTotal> = candidates
        .known
        .iter()
        .map(|candidate| number(&candidate.value))
        .collect();
    numbers?.into_iter().max().ok_or(NoTotal::NotANumber)
}

/// Adds up pairs of what is and what was.
fn sum(terms: &[(Option<Quantity>, Quantity)]) -> Result<Amount, NoTotal> {
    let (mut integers, mut scores, mut scored) = (0_i128, 0.0, false);
    let signed = terms
        .iter()
        .flat_map(|(is, was)| [(is.unwrap_or(Quantity::Nothing), 1), (*was, -1)]);
    for (quantity, sign) in signed {
        match quantity {
            Quantity::Nothing => {}
            Quantity::Of(Amount::Integer(number)) => {
                integers += i128::from(number) * i128::from(sign)
            }
            Quantity::Of(Amount::Score(score)) => {
                scored = true;
                scores += score.get() * f64::from(sign);
            }
            Quantity::NotANumber => return Err(NoTotal::NotANumber),
        }
    }
    if scored {
        return Score::new(scores)
            .map(Amount::Score)
            .ok_or(NoTotal::Overflow);
    }
    i64::try_from(integers)
        .map(Amount::Integer)
        .map_err(|_| NoTotal::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_integers_count() {
        let read = |text: &str| integer(text.as_bytes());
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("-17"), Some(-17));
        assert_eq!(read("9223372036854775807"), Some(i64::MAX));
        for text in [
            "",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "1.0",
            "9223372036854775808",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
