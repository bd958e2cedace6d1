# A replica that is not reached does not take part, and partial is not done; healed, it is repaired.
replicas us eu ap
us: SET s x
partition ap
repair
> "s": wrote eu
> ap took no part
> exit 3
show
> "s" us eu: string "x"
> "s" ap: absent

# Fewer than two replicas are nothing to compare.
partition eu
repair
> fewer than two replicas could be read, nothing was compared: replica eu: TIME: connection lost; replica ap: TIME: connection lost
> exit 2

heal eu ap
repair
> "s": wrote ap
> exit 0
show
> "s" all: string "x"
