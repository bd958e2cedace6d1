# Scores by the greatest or the least, as the keyspace says.
replicas us eu
keyspace best best:* --rule zset=max
keyspace fastest fastest:* --rule zset=min
us: ZADD best:1 10 ann 5 bob
eu: ZADD best:1 7 ann 8 bob
us: ZADD fastest:1 10 ann 5 bob
eu: ZADD fastest:1 7 ann 8 bob
repair
> "best:1": wrote us eu
> "fastest:1": wrote us eu
> exit 0
show
> "best:1" all: zset {"ann": 10.0, "bob": 8.0}
> "fastest:1" all: zset {"ann": 7.0, "bob": 5.0}
