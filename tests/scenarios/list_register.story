# Without a memory nobody knows what was appended to what: a list is a register.
replicas us eu
us: RPUSH l a b
eu: RPUSH l a b c
us: RPUSH m a b
eu: RPUSH m x a b y
repair
> "l": wrote eu
> "m": wrote eu
> exit 0
show
> "l" all: list ["a", "b"]
> "m" all: list ["a", "b"]

eu: RPUSH l c
eu: LPUSH l z
repair --prefer eu
> "l": wrote us
> exit 0
show
> "l" all: list ["z", "a", "b", "c"]
> "m" all: list ["a", "b"]
