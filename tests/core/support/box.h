/* box.h - a box of rules without a loop: frames go and come, and the test sees how it dies. */
#ifndef TEST_SUPPORT_BOX_H
#define TEST_SUPPORT_BOX_H

#include <sys/types.h>
#include "base/buf.h"
#include "vm/box/program.h"

typedef struct test_box {
    pid_t keeper;
    int control;
    till_box_ends_t ends;
    uint32_t exchange, last_id;
} test_box_t;

/* What came back of one rule. */
typedef struct test_verdict {
    bool is_lost; /* the box died instead */
    till_rule_code_t code;
    uint64_t fuel;
    char message[TILL_WIRE_MESSAGE_MAX + 1]; /* of a value: its bytes, up to a zero */
} test_verdict_t;

/** Starts the program beside ours of this name. @return false where it does not start */
bool test_box_open(test_box_t *box, const char *program);
void test_box_close(test_box_t *box);
/** Sends a body. @return false: the box is gone */
bool test_box_send(test_box_t *box, const till_buf_t *body);
/** The next frame, for at most `ms`. @return 1: there; 0: nothing came; -1: the box is gone */
int test_box_receive(test_box_t *box, till_buf_t *out, int ms);
/** Runs a rule on no input with no arguments; one that takes more than `ms` counts as lost. */
test_verdict_t test_box_run(test_box_t *box, const char *text, size_t len, int ms);
/** Takes the next box. @return how the one before ended, as waitpid says it */
int test_box_replace(test_box_t *box);

#endif
