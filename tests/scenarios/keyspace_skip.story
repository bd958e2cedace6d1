# Keys of a skipped keyspace are neither compared nor written; the first keyspace that matches owns a key.
replicas us eu
keyspace important cache:important:* --prefer eu
keyspace cache cache:* --skip
us: SET cache:1 one
eu: SET cache:1 two
us: SET cache:2 x
us: SET cache:important:1 one
eu: SET cache:important:1 two
us: SET other x
diff
> "cache:important:1": differs
> "other": differs
> exit 1
repair
> "cache:important:1": wrote us
> "other": wrote eu
> exit 0
show
> "cache:1" us: string "one"
> "cache:1" eu: string "two"
> "cache:2" us: string "x"
> "cache:2" eu: absent
> "cache:important:1" all: string "two"
> "other" all: string "x"
