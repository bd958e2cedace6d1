# What a story can say, without any repair.
replicas us eu ap

all: SET greeting hello
eu: SET greeting "bon jour"
us ap: SADD words b a
us: RPUSH list b c
us: LPUSH list a z
us: LREM list 0 c
us: HSET hash f 1 g 2
us: ZADD scores 1.5 m -inf n
us: XADD log 1-1 f v
us: XADD log 2 f v g w
us: XDEL log 1-1
us: XGROUP CREATE log readers $
us: INCRBY hits 3
us: INCR hits
us: SET soon x PXAT @900000
show
> "greeting" us ap: string "hello"
> "greeting" eu: string "bon jour"
> "hash" us: hash {"f": "1", "g": "2"}
> "hash" eu ap: absent
> "hits" us: string "4"
> "hits" eu ap: absent
> "list" us: list ["z", "a", "b"]
> "list" eu ap: absent
> "log" us: stream [2-0 {"f": "v", "g": "w"}] last 2-0 groups "readers"
> "log" eu ap: absent
> "scores" us: zset {"m": 1.5, "n": -inf}
> "scores" eu ap: absent
> "soon" us: string "x" until @900000
> "soon" eu ap: absent
> "words" us ap: set {"a", "b"}
> "words" eu: absent

# What a server refuses is seen.
all: SADD greeting x
> us: WRONGTYPE Operation against a key holding the wrong kind of value
> eu: WRONGTYPE Operation against a key holding the wrong kind of value
> ap: WRONGTYPE Operation against a key holding the wrong kind of value
us: XADD log 1-0 f v
> us: ERR The ID specified in XADD is equal or smaller than the target stream top item
us: INCR greeting
> us: ERR value is not an integer or out of range

# Everything can be lost at once.
eu: SET only x
us: FLUSHALL
ap: FLUSHALL
eu: DEL greeting words
show
> "only" us ap: absent
> "only" eu: string "x"
