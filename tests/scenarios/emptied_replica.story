# A replica that lost everything is refilled; its emptiness is no delete.
replicas us eu ap
all: SET s x
all: SADD set a b
all: HSET h f 1
us: XADD log 5-1 f v
eu ap: XADD log 5-1 f v
eu: FLUSHALL
diff
> "h": differs
> "log": differs
> "s": differs
> "set": differs
> exit 1
repair
> "h": wrote eu
> "log": wrote eu
> "s": wrote eu
> "set": wrote eu
> exit 0
show
> "h" all: hash {"f": "1"}
> "log" all: stream [5-1 {"f": "v"}] last 5-1
> "s" all: string "x"
> "set" all: set {"a", "b"}
