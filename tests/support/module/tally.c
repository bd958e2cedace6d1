/* A module for the tests, with a type of its own: a whole number, set by TALLY.SET and read by TALLY.GET.
 *
 * Declares the little that it uses of the module interface (version 1, the same since Redis 4), because its header
 * is not part of a redis-server's package. */

#include <stddef.h>
#include <stdint.h>

typedef struct Ctx Ctx;
typedef struct Key Key;
typedef struct Str Str;
typedef struct Type Type;
typedef struct Io Io;
typedef int (*Command)(Ctx *, Str **, int);

typedef struct {
    uint64_t version;
    void *(*load)(Io *, int);
    void (*save)(Io *, void *);
    void (*rewrite)(Io *, Str *, void *);
    size_t (*usage)(const void *);
    void (*digest)(void *, void *);
    void (*release)(void *);
} Methods;

enum { OK = 0, ERR = 1, READ = 1, WRITE = 2, EMPTY = 0 };

#define API(result, name, ...) static result (*name)(__VA_ARGS__)
API(void, SetModuleAttribs, Ctx *, const char *, int, int);
API(int, CreateCommand, Ctx *, const char *, Command, const char *, int, int, int);
API(Type *, CreateDataType, Ctx *, const char *, int, Methods *);
API(Key *, OpenKey, Ctx *, Str *, int);
API(void, CloseKey, Key *);
API(int, KeyType, Key *);
API(int, ModuleTypeSetValue, Key *, Type *, void *);
API(Type *, ModuleTypeGetType, Key *);
API(void *, ModuleTypeGetValue, Key *);
API(int, StringToLongLong, const Str *, long long *);
API(int, ReplyWithLongLong, Ctx *, long long);
API(int, ReplyWithNull, Ctx *);
API(int, ReplyWithError, Ctx *, const char *);
API(void, SaveSigned, Io *, int64_t);
API(int64_t, LoadSigned, Io *);
API(void *, Alloc, size_t);
API(void, Free, void *);

static Type *tally;

static int set(Ctx *ctx, Str **argv, int argc) {
    long long number;
    if (argc != 3 || StringToLongLong(argv[2], &number) != OK) return ReplyWithError(ctx, "ERR TALLY.SET key number");
    Key *key = OpenKey(ctx, argv[1], READ | WRITE);
    if (KeyType(key) != EMPTY && ModuleTypeGetType(key) != tally) {
        CloseKey(key);
        return ReplyWithError(ctx, "WRONGTYPE not a tally");
    }
    int64_t *value = Alloc(sizeof *value);
    *value = number;
    ModuleTypeSetValue(key, tally, value);
    CloseKey(key);
    return ReplyWithLongLong(ctx, number);
}

static int get(Ctx *ctx, Str **argv, int argc) {
    if (argc != 2) return ReplyWithError(ctx, "ERR TALLY.GET key");
    Key *key = OpenKey(ctx, argv[1], READ);
    int64_t *value = key && ModuleTypeGetType(key) == tally ? ModuleTypeGetValue(key) : NULL;
    int replied = value ? ReplyWithLongLong(ctx, *value) : ReplyWithNull(ctx);
    if (key) CloseKey(key);
    return replied;
}

static void *load(Io *io, int version) {
    (void)version;
    int64_t *value = Alloc(sizeof *value);
    *value = LoadSigned(io);
    return value;
}

static void save(Io *io, void *value) { SaveSigned(io, *(int64_t *)value); }

static void release(void *value) { Free(value); }

#define GET(name) \
    if (find("RedisModule_" #name, (void *)&name) != OK) return ERR

int RedisModule_OnLoad(Ctx *ctx, Str **argv, int argc) {
    (void)argv, (void)argc;
    int (*find)(const char *, void *) = (int (*)(const char *, void *))((void **)ctx)[0];
    GET(SetModuleAttribs); GET(CreateCommand); GET(CreateDataType); GET(OpenKey); GET(CloseKey); GET(KeyType);
    GET(ModuleTypeSetValue); GET(ModuleTypeGetType); GET(ModuleTypeGetValue); GET(StringToLongLong);
    GET(ReplyWithLongLong); GET(ReplyWithNull); GET(ReplyWithError); GET(SaveSigned); GET(LoadSigned); GET(Alloc);
    GET(Free);
    SetModuleAttribs(ctx, "tally", 1, 1);
    Methods methods = {.version = 1, .load = load, .save = save, .release = release};
    tally = CreateDataType(ctx, "rk-tally1", 0, &methods);
    if (!tally) return ERR;
    if (CreateCommand(ctx, "tally.set", set, "write deny-oom", 1, 1, 1) != OK) return ERR;
    return CreateCommand(ctx, "tally.get", get, "readonly", 1, 1, 1);
}
