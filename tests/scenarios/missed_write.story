# A write that did not reach a replica is brought there, whatever its type. Without a memory absence is never a delete.
replicas us eu
all: SET both 1
us: SET s hello
eu: SADD set a b
us: HSET h f 1
eu: ZADD z 1.5 m
us: RPUSH l a b
diff
> "h": differs
> "l": differs
> "s": differs
> "set": differs
> "z": differs
> exit 1
repair
> "h": wrote eu
> "l": wrote eu
> "s": wrote eu
> "set": wrote us
> "z": wrote us
> exit 0
show
> "both" all: string "1"
> "h" all: hash {"f": "1"}
> "l" all: list ["a", "b"]
> "s" all: string "hello"
> "set" all: set {"a", "b"}
> "z" all: zset {"m": 1.5}

# Nothing is left to do.
diff
> exit 0
repair
> exit 0
