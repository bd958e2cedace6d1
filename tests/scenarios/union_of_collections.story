# Sets, hashes and sorted sets are joined element by element; a field or score that differs is a register.
replicas us eu ap
us: SADD set a b
eu: SADD set b c
ap: SADD set d
us: HSET h both us only-us 1
eu: HSET h both eu only-eu 2
us: ZADD z 1 both 2 only-us
ap: ZADD z 9 both 3 only-ap
repair
> "h": wrote us eu ap
> "set": wrote us eu ap
> "z": wrote us eu ap
> exit 0
show
> "h" all: hash {"both": "us", "only-eu": "2", "only-us": "1"}
> "set" all: set {"a", "b", "c", "d"}
> "z" all: zset {"both": 1.0, "only-ap": 3.0, "only-us": 2.0}

# A removal is not known without a memory: the member comes back.
eu: SREM set a
repair
> "set": wrote eu
> exit 0
show
> "h" all: hash {"both": "us", "only-eu": "2", "only-us": "1"}
> "set" all: set {"a", "b", "c", "d"}
> "z" all: zset {"both": 1.0, "only-ap": 3.0, "only-us": 2.0}
