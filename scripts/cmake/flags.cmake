# Flags that every translation unit gets. libh2o's headers change the layout of
# their structs with H2O_USE_LIBUV, so it is set here, once, for all.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_FLAGS_RELEASE "-O2 -g -DNDEBUG")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g -fno-omit-frame-pointer")

add_compile_options(-Wall -Wextra -Wshadow -Wvla -Werror)
add_compile_definitions(_GNU_SOURCE H2O_USE_LIBUV=0)

if(TILL_SANITIZE)
    add_compile_options(-fsanitize=${TILL_SANITIZE} -fno-sanitize-recover=undefined)
    add_link_options(-fsanitize=${TILL_SANITIZE})
endif()

if(TILL_HARDEN)
    add_compile_options(-fstack-protector-strong -fPIE)
    add_compile_definitions(_FORTIFY_SOURCE=2)
    add_link_options(-pie -Wl,-z,relro,-z,now)
endif()
