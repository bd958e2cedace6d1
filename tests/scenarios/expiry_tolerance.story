# Expiries within the tolerance are equal; a missing one never equals a present one.
replicas us eu
all: SET near x
us: PEXPIREAT near @5000000
eu: PEXPIREAT near @5000900
all: SET far x
us: PEXPIREAT far @5000000
eu: PEXPIREAT far @5001100
all: SET one x
us: PEXPIREAT one @5000000
repair --tolerance 1000
> "far": wrote us
> "one": wrote us
> exit 0
show
> "far" all: string "x" until @5001100
> "near" us: string "x" until @5000000
> "near" eu: string "x" until @5000900
> "one" all: string "x"
