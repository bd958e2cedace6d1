# Keys and values are bytes: empty, binary, newlines, invalid UTF-8.
replicas us eu
us: SET "" empty-name
us: SET empty ""
eu: SET "\x00\xff\n\"\\" "line\r\nline"
us: HSET h "" ""
eu: HSET h "\xc3\x28" "\x00"
us: SADD s ""
eu: SADD s " "
repair
> "": wrote eu
> "\x00\xff\n\"\\": wrote us
> "empty": wrote eu
> "h": wrote us eu
> "s": wrote us eu
> exit 0
show
> "" all: string "empty-name"
> "\x00\xff\n\"\\" all: string "line\r\nline"
> "empty" all: string ""
> "h" all: hash {"": "", "\xc3(": "\x00"}
> "s" all: set {"", " "}
