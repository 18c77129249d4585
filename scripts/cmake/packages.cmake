# Debian 12's packages, through pkg-config. One interface target carries them
# all; which layer may include which header is the business of scripts/lint-layers.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(till_package name)
    pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${ARGN})
    set_target_properties(PkgConfig::${name} PROPERTIES
        INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${${name}_INCLUDE_DIRS}")
    target_link_libraries(till_packages INTERFACE PkgConfig::${name})
endfunction()

add_library(till_packages INTERFACE)
till_package(H2O libh2o-evloop)
till_package(LUAJIT luajit)
till_package(MARIADB libmariadb)
till_package(HIREDIS hiredis)
till_package(CURL libcurl)
till_package(RABBITMQ librabbitmq)
till_package(OPENSSL openssl)
till_package(ZLIB zlib)
till_package(LZMA liblzma)
# libwslay has no .pc of its own, and libh2o's does not name it
target_link_libraries(till_packages INTERFACE wslay z m ${CMAKE_DL_LIBS} Threads::Threads)
