# The first agreement on a counter is the greatest; what is no canonical integer is a register.
replicas us eu ap
keyspace hits hits:* --rule string=counter
keyspace highest highest:* --rule string=counter-max
keyspace stats stats:* --rule hash=counter
us: INCRBY hits:1 5
eu: INCRBY hits:1 7
us: SET hits:text 05
eu: SET hits:text 7
us: INCRBY highest:1 -5
eu: INCRBY highest:1 -7
ap: INCRBY highest:1 -9
us: HSET stats:1 a 10 b 2
eu: HSET stats:1 a 9 b 3
repair
> "highest:1": wrote eu ap
> "hits:1": wrote us ap
> "hits:text": wrote eu ap
> "stats:1": wrote us eu ap
> exit 0
show
> "highest:1" all: string "-5"
> "hits:1" all: string "7"
> "hits:text" all: string "05"
> "stats:1" all: hash {"a": "10", "b": "3"}
