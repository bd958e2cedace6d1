//! Command lines that the help texts of `diff` and `repair` show.

pub(super) const DIFF_EXAMPLES: &str = "\
Examples:
  reknit diff -c reknit.yaml
  reknit diff --replica us=redis://10.0.0.1:6379 --replica eu=redis://10.1.0.1:6379
  reknit diff -c reknit.yaml --keyspace hits --type hash --type zset
  reknit diff -c reknit.yaml --match 'user:*' --format ndjson > differing.ndjson
  redis-cli --no-raw --scan --pattern 'cart:*' | reknit diff -c reknit.yaml --keys-from -

Nothing is written. Exits 0 in sync, 1 if keys differ, 2 on trouble, 3 if a replica was missed.";

pub(super) const REPAIR_EXAMPLES: &str = "\
Examples:
  reknit repair -c reknit.yaml --dry-run            # what would be written
  reknit repair -c reknit.yaml --limit 10           # a canary: the first ten divergences
  reknit repair -c reknit.yaml --slots 0-8191       # one half, then the other
  reknit repair -c reknit.yaml --key 'bin\\x00\\xff'  # one key, escaped as redis-cli shows it
  reknit repair --replica us=redis://10.0.0.1 --replica eu=redis://10.1.0.1 \\
      --prefer us,greatest --rule string=counter-max

Exits 0 repaired and verified, 1 if divergence is left, 2 on trouble, 3 if a replica was missed,
4 if a guard stopped it.";
