# One Check runner for each layer: tests/core/<layer>/test_<module>.c, each of
# which defines `Suite *<module>_suite(void)`, with a table made from the names.
# ctest then runs one module at a time: `ctest -R core/base/json`.
pkg_check_modules(CHECK REQUIRED IMPORTED_TARGET check)

file(GLOB support CONFIGURE_DEPENDS tests/core/support/*.c)
if(support)
    # an archive, so that a runner takes only what its tests ask for
    add_library(till_test_support STATIC ${support})
    target_include_directories(till_test_support PUBLIC core tests/core)
    target_link_libraries(till_test_support PUBLIC till_packages PkgConfig::CHECK)
else()
    add_library(till_test_support INTERFACE)
endif()

function(till_layer_tests layer)
    file(GLOB sources CONFIGURE_DEPENDS tests/core/${layer}/test_*.c)
    if(NOT sources)
        return()
    endif()
    set(TILL_DECLARATIONS "")
    set(TILL_ROWS "")
    foreach(source IN LISTS sources)
        get_filename_component(module ${source} NAME_WE)
        string(REGEX REPLACE "^test_" "" module ${module})
        string(APPEND TILL_DECLARATIONS "Suite *${module}_suite(void);\n")
        string(APPEND TILL_ROWS "    {\"${module}\", ${module}_suite},\n")
        add_test(NAME core/${layer}/${module} COMMAND test_${layer} ${module}
            WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
        set_tests_properties(core/${layer}/${module} PROPERTIES TIMEOUT 180)
    endforeach()
    configure_file(tests/core/runner/runner.c.in runner_${layer}.c @ONLY)
    add_executable(test_${layer} ${sources} ${CMAKE_CURRENT_BINARY_DIR}/runner_${layer}.c)
    target_include_directories(test_${layer} PRIVATE tests/core)
    target_link_libraries(test_${layer} PRIVATE till_test_support till_${layer} PkgConfig::CHECK)
endfunction()

foreach(layer base io trade vm serve)
    till_layer_tests(${layer})
endforeach()
