# A keyspace that ignores expiry neither compares nor repairs it, and a joined set keeps its own; a string that is copied
# brings its source's, over another too.
replicas us eu
all: SET same x
us: PEXPIREAT same @5000000
us: SET differs american PXAT @5000000
eu: SET differs european PXAT @9000000
us: SET missed x PXAT @7000000
us: SADD joined a
eu: SADD joined b
us: PEXPIREAT joined @5000000
eu: PEXPIREAT joined @9000000
repair --expiry ignore
> "differs": wrote eu
> "joined": wrote us eu
> "missed": wrote eu
> exit 0
show
> "differs" all: string "american" until @5000000
> "joined" us: set {"a", "b"} until @5000000
> "joined" eu: set {"a", "b"} until @9000000
> "missed" all: string "x" until @7000000
> "same" us: string "x" until @5000000
> "same" eu: string "x"
