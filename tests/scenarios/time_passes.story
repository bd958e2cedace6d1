# Keys and hash fields end at their time.
replicas us eu
us: SET soon x PXAT @900
us: SET late x PX 7000
us: HSET hash f 1 g 2
us: HPEXPIREAT hash @5000 FIELDS 1 f
show
> "hash" us: hash {"f": "1" until @5000, "g": "2"}
> "hash" eu: absent
> "late" us: string "x" until @7000
> "late" eu: absent
> "soon" us: string "x" until @900
> "soon" eu: absent
at 900
show
> "hash" us: hash {"f": "1" until @5000, "g": "2"}
> "hash" eu: absent
> "late" us: string "x" until @7000
> "late" eu: absent
at 7000
show
> "hash" us: hash {"g": "2"}
> "hash" eu: absent
