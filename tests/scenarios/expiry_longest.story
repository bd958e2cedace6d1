# The longest expiry wins, and none is longest; a winning string brings its own.
replicas us eu
us: SADD longest a
eu: SADD longest a
us: PEXPIREAT longest @5000000
eu: PEXPIREAT longest @9000000
all: SADD never a
us: PEXPIREAT never @5000000
us: SET mine american PXAT @5000000
eu: SET mine european
us: SET missed x PXAT @7000000
repair
> "longest": wrote us
> "mine": wrote eu
> "missed": wrote eu
> "never": wrote us
> exit 0
show
> "longest" all: set {"a"} until @9000000
> "mine" all: string "american" until @5000000
> "missed" all: string "x" until @7000000
> "never" all: set {"a"}
