# tests/bench/bench_<what>.c, each a program of its own; built when it is
# asked for by name, with the flags of what it measures; and by the test build,
# so that they go on compiling.
file(GLOB bench_sources CONFIGURE_DEPENDS tests/bench/bench_*.c)
foreach(source IN LISTS bench_sources)
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    if(NOT TILL_TESTS)
        set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
    endif()
    target_link_libraries(${name} PRIVATE till_serve)
    set_target_properties(${name} PROPERTIES ENABLE_EXPORTS ON)
endforeach()
