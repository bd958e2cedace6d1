# A key is skipped if any sibling is about to expire, also where another has none or is absent.
replicas us eu
us: SET soon one PXAT @30000
eu: SET soon two
us: SET missed x PXAT @30000
us: SET later x PXAT @90000
repair
> "later": wrote eu
> 2 about to expire
> exit 0
show
> "later" all: string "x" until @90000
> "missed" us: string "x" until @30000
> "missed" eu: absent
> "soon" us: string "one" until @30000
> "soon" eu: string "two"
