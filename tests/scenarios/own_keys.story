# What reknit itself left in a replica is never compared.
replicas us eu
us: SET reknit:aside:1 x
us: SET s x
repair
> "s": wrote eu
> exit 0
show
> "s" all: string "x"
