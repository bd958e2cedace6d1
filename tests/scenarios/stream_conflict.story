# One ID with two contents is reported and left.
replicas us eu
us: XADD log 1-0 f american
eu: XADD log 1-0 f european
repair
> "log": left: one stream ID has two contents
> exit 1
show
> "log" us: stream [1-0 {"f": "american"}] last 1-0
> "log" eu: stream [1-0 {"f": "european"}] last 1-0
