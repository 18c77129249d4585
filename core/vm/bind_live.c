/* bind_live.c - the streams that clients hold open; see live.h. Without a server there are none. */
#include "vm/vm_priv.h"

static const till_live_face_t *face_of(lua_State *L) { return till_vm_env_of(L)->live; }

/* streams() -> how many are open here */
static int l_streams(lua_State *L)
{
    const till_live_face_t *face = face_of(L);

    lua_pushnumber(L, face != NULL ? (lua_Number)face->streams(face->data) : 0);
    return 1;
}

static void push_topic(void *data, till_slice_t topic, till_slice_t tag)
{
    lua_State *L = data;

    lua_pushlstring(L, topic.base, topic.len);
    lua_pushlstring(L, tag.base, tag.len);
    lua_rawset(L, -3);
}

/* watched() -> { topic = tag } */
static int l_watched(lua_State *L)
{
    const till_live_face_t *face = face_of(L);

    lua_newtable(L);
    if (face != NULL)
        face->each(face->data, push_topic, L);
    return 1;
}

/* tag(topic) -> text, or nil where nobody watches it */
static int l_tag(lua_State *L)
{
    const till_live_face_t *face = face_of(L);
    till_slice_t topic = till_check_slice(L, 1);
    const char *tag = face != NULL ? face->tag(face->data, topic) : NULL;

    if (tag == NULL)
        return 0;
    lua_pushstring(L, tag);
    return 1;
}

/* set(topic, owner, tag, json, changes) */
static int l_set(lua_State *L)
{
    const till_live_face_t *face = face_of(L);
    till_live_state_t state = {.topic = till_check_slice(L, 1),
                               .owner = till_check_slice(L, 2),
                               .tag = till_check_slice(L, 3),
                               .json = till_check_slice(L, 4),
                               .changes = (unsigned)luaL_checkinteger(L, 5)};

    luaL_argcheck(L, state.json.len > 2 && *(const char *)state.json.base == '{', 4, "an object that is not empty");
    if (face != NULL)
        face->set(face->data, &state);
    return 0;
}

/* finish(topic) */
static int l_finish(lua_State *L)
{
    const till_live_face_t *face = face_of(L);
    till_slice_t topic = till_check_slice(L, 1);

    if (face != NULL)
        face->end(face->data, topic);
    return 0;
}

static const luaL_Reg functions[] = {
    {"streams", l_streams}, {"watched", l_watched}, {"tag", l_tag}, {"set", l_set}, {"finish", l_finish}, {NULL, NULL},
};

/* Besides the functions: `changes`, name -> bit. */
int till_bind_live(lua_State *L)
{
    static const char *const names[] = {
#define NAME(id, name) name,
        TILL_LIVE_CHANGES(NAME)
#undef NAME
    };

    till_bind(L, functions);
    lua_createtable(L, 0, TILL_LIVE_CHANGE_COUNT);
    for (int i = 0; i != TILL_LIVE_CHANGE_COUNT; ++i) {
        lua_pushnumber(L, (lua_Number)(1u << i));
        lua_setfield(L, -2, names[i]);
    }
    lua_setfield(L, -2, "changes");
    return 1;
}
