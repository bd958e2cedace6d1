# A keyspace that ignores expiry neither compares nor touches it; a key that is copied keeps its source's.
replicas us eu
all: SET same x
us: PEXPIREAT same @5000000
us: SET differs american PXAT @5000000
eu: SET differs european PXAT @9000000
us: SET missed x PXAT @7000000
repair --expiry ignore
> "differs": wrote eu
> "missed": wrote eu
> exit 0
show
> "differs" us: string "american" until @5000000
> "differs" eu: string "american" until @9000000
> "missed" all: string "x" until @7000000
> "same" us: string "x" until @5000000
> "same" eu: string "x"
