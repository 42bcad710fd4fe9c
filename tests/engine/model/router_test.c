/* The router by small cases that can be checked by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "engine/model/router.h"

enum { N = 8 };

static struct moe_config config(enum router_score score, size_t n_used)
{
    return (struct moe_config){.n_experts = N,
                               .n_used = n_used,
                               .n_groups = 1,
                               .n_groups_used = 1,
                               .score = score,
                               .weights_scale = 1};
}

static void assert_near(float got, double expected)
{
    if (fabs((double)got - expected) > 1e-6)
        fail_msg("%g, expected %g", (double)got, expected);
}

static void scores_and_weights(void **state)
{
    (void)state;
    static const float logits[N] = {0, 2, 1, -1, 2.5f, 0.5f, 0, 0};
    int32_t expert[3];
    float weight[3];
    double sum = 0;
    for (size_t i = 0; i < N; i++)
        sum += exp((double)logits[i]);
    struct moe_config moe = config(SCORE_SOFTMAX, 3);
    router_choose(&moe, logits, NULL, expert, weight);
    assert_int_equal(expert[0], 4);
    assert_int_equal(expert[1], 1);
    assert_int_equal(expert[2], 2);
    assert_near(weight[0], exp(2.5) / sum);
    assert_near(weight[2], exp(1) / sum);
    double chosen = exp(2.5) + exp(2) + exp(1);
    moe.weights_norm = true;
    moe.weights_scale = 2.5f;
    router_choose(&moe, logits, NULL, expert, weight);
    assert_near(weight[1], 2.5 * exp(2) / chosen);
    moe = config(SCORE_SOFTMAX_CHOSEN, 3);
    router_choose(&moe, logits, NULL, expert, weight);
    assert_near(weight[1], exp(2) / chosen);
    moe = config(SCORE_SIGMOID, 3);
    router_choose(&moe, logits, NULL, expert, weight);
    assert_near(weight[0], 1 / (1 + exp(-2.5)));
}

static void a_bias_chooses_and_does_not_weigh(void **state)
{
    (void)state;
    static const float logits[N] = {0, 2, 1, -1, 2.5f, 0.5f, 0, 0};
    static const float bias[N] = {0, 0, 0, 1, -1, 0, 0, 0};
    int32_t expert[2];
    float weight[2];
    struct moe_config moe = config(SCORE_SIGMOID, 2);
    router_choose(&moe, logits, bias, expert, weight);
    assert_int_equal(expert[0], 3);
    assert_int_equal(expert[1], 1);
    assert_near(weight[0], 1 / (1 + exp(1)));
}

/* Best of a group, or the sum of its best two: the two rules open different groups here. */
static void groups_limit_the_choice(void **state)
{
    (void)state;
    static const float logits[N] = {3, -9, 1, 1.5f, 2, 1.9f, 0, 0};
    int32_t expert[2];
    float weight[2];
    struct moe_config moe = config(SCORE_SOFTMAX, 2);
    moe.n_groups = 4;
    moe.n_groups_used = 1;
    router_choose(&moe, logits, NULL, expert, weight);
    assert_int_equal(expert[0], 0);
    assert_int_equal(expert[1], 1);
    moe.score = SCORE_SIGMOID;
    router_choose(&moe, logits, NULL, expert, weight);
    assert_int_equal(expert[0], 4);
    assert_int_equal(expert[1], 5);
}

static void ties_go_to_the_lowest_and_nan_chooses_distinct_ones(void **state)
{
    (void)state;
    static const float equal[N] = {1, 1, 1, 1, 1, 1, 1, 1};
    float broken[N];
    int32_t expert[N];
    float weight[N];
    struct moe_config moe = config(SCORE_SOFTMAX, N);
    router_choose(&moe, equal, NULL, expert, weight);
    for (int32_t i = 0; i < N; i++)
        assert_int_equal(expert[i], i);
    for (size_t i = 0; i < N; i++)
        broken[i] = i % 3 ? NAN : INFINITY;
    moe.n_groups = 2;
    moe.n_groups_used = 1;
    moe.n_used = 4;
    router_choose(&moe, broken, NULL, expert, weight);
    bool seen[N] = {false};
    for (size_t i = 0; i < moe.n_used; i++) {
        assert_in_range(expert[i], 0, N - 1);
        assert_false(seen[expert[i]]);
        seen[expert[i]] = true;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_and_weights),
        cmocka_unit_test(a_bias_chooses_and_does_not_weigh),
        cmocka_unit_test(groups_limit_the_choice),
        cmocka_unit_test(ties_go_to_the_lowest_and_nan_chooses_distinct_ones),
    };
    return cmocka_run_group_tests_name("model/router", tests, NULL, NULL);
}
