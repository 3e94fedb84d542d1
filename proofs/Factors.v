(* The factors that every other file assumes are there, and are what one expects: a symmetric positive
   definite H has exactly one pair V, D with H = V diag(D) V^T and V unit upper triangular, its D is
   positive, and it has a Cholesky factor. Columns are eliminated from the last to the first. *)

From Coq Require Import Reals Lra Lia Arith.
From Assay Require Import FiniteSums Quadratic Sweep LossIdentity.
Open Scope R_scope.

Lemma quadratic_last : forall n H e,
  quadratic (S n) H e = quadratic n H e + e n * \sum_(i < n) (e i * (H i n + H n i)) + e n ^ 2 * H n n.
Proof.
  intros n H e. unfold quadratic. simpl. rewrite sum_plus.
  rewrite (sum_scale_right n (e n) (fun i => e i * H i n)).
  rewrite (sum_ext n (fun j => e n * H n j * e j) (fun j => e n * (e j * H n j))), sum_scale
    by (intros; ring).
  rewrite (sum_ext n (fun i => e i * (H i n + H n i)) (fun i => e i * H i n + e i * H n i)), sum_plus
    by (intros; ring).
  ring.
Qed.

Lemma last_pivot_positive : forall n H, positive_definite (S n) H -> 0 < H n n.
Proof.
  intros n H positive.
  assert (P : 0 < quadratic (S n) H (fun k => if (k =? n)%nat then 1 else 0)).
  { apply positive. exists n. rewrite Nat.eqb_refl. split; [lia|lra]. }
  rewrite quadratic_last, Nat.eqb_refl in P.
  rewrite (sum_zero n (fun i => _ * _)) in P by (intros k ?; destruct (Nat.eqb_spec k n); [lia|ring]).
  unfold quadratic in P. rewrite sum_zero in P; [lra|].
  intros i ?. apply sum_zero. intros j ?. destruct (Nat.eqb_spec i n); [lia|ring].
Qed.

(* What is left of H once its last column is eliminated. *)
Definition schur (n : nat) (H : nat -> nat -> R) (i j : nat) : R := H i j - H i n * H j n / H n n.

Lemma quadratic_schur : forall n H e,
  quadratic n (schur n H) e = quadratic n H e - (\sum_(i < n) (e i * H i n)) ^ 2 / H n n.
Proof.
  intros n H e. unfold quadratic, schur. simpl pow. unfold Rdiv.
  rewrite Rmult_1_r, sum_product, <- sum_scale_right, <- sum_minus. apply sum_ext; intros i _.
  rewrite <- sum_scale_right, <- sum_minus. apply sum_ext; intros j _. ring.
Qed.

Lemma schur_positive : forall n H,
  symmetric (S n) H -> positive_definite (S n) H -> positive_definite n (schur n H).
Proof.
  intros n H balanced positive e [i [inside nonzero]].
  pose (b := \sum_(i < n) (e i * H i n)).
  pose (f := fun k => if (k =? n)%nat then - b / H n n else e k).
  assert (P : 0 < quadratic (S n) H f).
  { apply positive. exists i. split; [lia|]. unfold f. destruct (Nat.eqb_spec i n); [lia|assumption]. }
  assert (pivot := last_pivot_positive n H positive).
  assert (below : forall k, (k < n)%nat -> f k = e k)
    by (intros k ?; unfold f; destruct (Nat.eqb_spec k n); [lia|reflexivity]).
  rewrite quadratic_last, (quadratic_ext n H H f e) in P by (try exact below; reflexivity).
  rewrite (sum_ext n _ (fun k => 2 * (e k * H k n))), sum_scale in P
    by (intros; rewrite below, (balanced n) by lia; ring).
  fold b in P. replace (f n) with (- b / H n n) in P by (unfold f; rewrite Nat.eqb_refl; reflexivity).
  rewrite quadratic_schur. fold b.
  replace (quadratic n H e - b ^ 2 / H n n)
    with (quadratic n H e + - b / H n n * (2 * b) + (- b / H n n) ^ 2 * H n n) by (field; lra).
  exact P.
Qed.

Theorem factors_exist : forall n H,
  symmetric n H -> positive_definite n H ->
  exists V D, factors n H V D /\ forall j, (j < n)%nat -> 0 < D j.
Proof.
  induction n as [|n IH]; intros H balanced positive.
  - exists (fun _ _ => 0), (fun _ => 0). split; [split|]; intros; lia.
  - assert (pivot := last_pivot_positive n H positive).
    destruct (IH (schur n H)) as [V [D [[unit upper same] above]]].
    { intros i j ? ?. unfold schur. rewrite (balanced i j) by lia. field. lra. }
    { apply schur_positive; assumption. }
    exists (fun i j => if (j =? n)%nat then H i n / H n n else if (i =? n)%nat then 0 else V i j),
           (fun j => if (j =? n)%nat then H n n else D j).
    split; [split|].
    + intros j ?. destruct (Nat.eqb_spec j n) as [->|]; [field; lra|apply unit; lia].
    + intros i j ?. destruct (Nat.eqb_spec j n), (Nat.eqb_spec i n); try lia; [reflexivity|apply upper; lia].
    + intros i j ? ?. simpl. rewrite Nat.eqb_refl.
      destruct (Nat.eqb_spec i n) as [->|].
      * rewrite sum_zero by (intros k ?; destruct (Nat.eqb_spec k n); [lia|ring]).
        rewrite (balanced n j) by lia. field. lra.
      * destruct (Nat.eqb_spec j n) as [->|].
        -- rewrite sum_zero by (intros k ?; destruct (Nat.eqb_spec k n); [lia|ring]). field. lra.
        -- rewrite (sum_ext n _ (fun k => V i k * D k * V j k))
             by (intros k ?; destruct (Nat.eqb_spec k n); [lia|reflexivity]).
           rewrite <- same by lia. unfold schur. field. lra.
    + intros j ?. destruct (Nat.eqb_spec j n); [assumption|apply above; lia].
Qed.

Corollary cholesky_exists : forall n H,
  symmetric n H -> positive_definite n H -> exists root, cholesky n H root.
Proof.
  intros n H balanced positive.
  destruct (factors_exist n H balanced positive) as [V [D [[unit upper same] above]]].
  exists (fun i j => V i j * sqrt (D j)). split.
  - intros j ?. rewrite unit, Rmult_1_l by assumption. apply sqrt_lt_R0, above; assumption.
  - intros i j ?. rewrite upper by assumption. ring.
  - intros i j ? ?. rewrite same by assumption. apply sum_ext; intros k ?.
    rewrite <- (sqrt_sqrt (D k)) at 1 by (apply Rlt_le, above; assumption). ring.
Qed.

(* Read off the last column, which no earlier pivot touches. *)
Lemma last_column : forall n H V D i,
  factors (S n) H V D -> (i <= n)%nat -> H i n = V i n * D n.
Proof.
  intros n H V D i [unit upper same] ?. rewrite same by lia. simpl.
  rewrite sum_zero, unit by (try lia; intros; rewrite (upper n) by lia; ring). ring.
Qed.

Lemma factors_of_the_rest : forall n H V D,
  factors (S n) H V D -> factors n (fun i j => H i j - V i n * D n * V j n) V D.
Proof.
  intros n H V D [unit upper same]. split.
  - intros; apply unit; lia.
  - intros; apply upper; lia.
  - intros i j ? ?. rewrite same by lia. simpl. ring.
Qed.

Theorem factors_are_unique : forall n H U C V D,
  factors n H U C -> factors n H V D -> (forall j, (j < n)%nat -> D j <> 0) ->
  (forall i j, (i < n)%nat -> (j < n)%nat -> U i j = V i j) /\ (forall j, (j < n)%nat -> C j = D j).
Proof.
  induction n as [|n IH]; intros H U C V D F G nonzero; [split; intros; lia|].
  assert (pivots : C n = D n).
  { assert (P := last_column n H U C n F (le_n n)). rewrite (last_column n H V D n G) in P by lia.
    rewrite (factors_unit _ _ _ _ F), (factors_unit _ _ _ _ G) in P by lia. lra. }
  assert (columns : forall i, (i <= n)%nat -> U i n = V i n).
  { intros i ?. apply Rmult_eq_reg_r with (D n); [|apply nonzero; lia].
    rewrite <- (last_column n H V D i G), <- pivots by lia. symmetry. apply (last_column n H U C i F). lia. }
  destruct (IH (fun i j => H i j - V i n * D n * V j n) U C V D) as [earlier_columns earlier_pivots].
  - destruct (factors_of_the_rest n H U C F) as [unit upper same]. split; [exact unit|exact upper|].
    intros i j ? ?. rewrite <- same, pivots, !columns by lia. reflexivity.
  - apply factors_of_the_rest, G.
  - intros; apply nonzero; lia.
  - split.
    + intros i j ? ?. destruct (Nat.eq_dec j n) as [->|]; [apply columns; lia|].
      destruct (Nat.eq_dec i n) as [->|]; [|apply earlier_columns; lia].
      rewrite (factors_upper _ _ _ _ F), (factors_upper _ _ _ _ G) by lia. reflexivity.
    + intros j ?. destruct (Nat.eq_dec j n) as [->|]; [assumption|apply earlier_pivots; lia].
Qed.

(* The pivots tell whether H is positive definite. *)
Theorem pivots_of_positive_definite : forall n H V D,
  factors n H V D -> (positive_definite n H <-> forall j, (j < n)%nat -> 0 < D j).
Proof.
  intros n H V D F. split.
  - intros positive j inside.
    (* A row whose error times V is the j-th unit vector: by the loss identity its loss is D_j. *)
    pose (hit := fun k => if (k =? j)%nat then 1 else 0).
    pose (s := sweep V (fun k x => x - hit k) (fun _ => 0) n).
    assert (gap : forall k, (k < n)%nat -> work V (fun _ => 0) (decoded s) k - decoded s k = hit k).
    { intros k below. assert (C := sweep_is_the_recursion V (fun k x => x - hit k) (fun _ => 0) n k below).
      fold s in C. simpl in C. lra. }
    assert (P : quadratic n H (fun k => 0 - decoded s k) = D j).
    { rewrite (loss_identity n H V D) by assumption. rewrite (sum_only n _ j).
      - rewrite gap by assumption. unfold hit. rewrite Nat.eqb_refl. ring.
      - assumption.
      - intros k ? ?. rewrite gap by assumption. unfold hit.
        destruct (Nat.eqb_spec k j); [contradiction|ring]. }
    rewrite <- P. apply positive.
    assert (before : forall k, (k < j)%nat -> decoded s k = 0).
    { intros k. induction k as [k earlier] using lt_wf_ind. intros ?.
      assert (G := gap k ltac:(lia)). unfold work, hit in G. destruct (Nat.eqb_spec k j); [lia|].
      rewrite sum_zero in G by (intros i ?; rewrite earlier by lia; ring). lra. }
    exists j. split; [assumption|].
    assert (G := gap j inside). unfold work, hit in G. rewrite Nat.eqb_refl in G.
    rewrite sum_zero in G by (intros i ?; rewrite before by lia; ring). lra.
  - intros above e [i [inside nonzero]].
    assert (same : quadratic n H e = quadratic n H (fun k => e k - 0)) by (apply quadratic_ext; intros; ring).
    rewrite same, (loss_identity n H V D e (fun _ => 0)) by assumption.
    assert (squares : forall k, (k < n)%nat -> 0 <= D k * (work V e (fun _ => 0) k - 0) ^ 2).
    { intros. apply Rmult_le_pos; [apply Rlt_le, above; assumption|apply pow2_ge_0]. }
    destruct (Rle_lt_or_eq_dec _ _ (sum_nonneg n _ squares)) as [|zero]; [assumption|exfalso].
    (* Were all the squares nil, every e_k would be, from the first on. *)
    apply nonzero. clear nonzero. induction i as [i earlier] using lt_wf_ind.
    assert (T := sum_zero_terms n _ squares (eq_sym zero) i inside). simpl in T.
    apply Rmult_integral in T. destruct T as [T|T]; [assert (0 < D i) by auto; lra|].
    rewrite Rmult_1_r in T. apply Rmult_integral in T.
    unfold work in T. rewrite sum_zero in T by (intros k ?; rewrite (earlier k) by lia; ring). lra.
Qed.
